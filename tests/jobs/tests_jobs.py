"""Real studies for the tests of the commands: run by the command line, in processes of their own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

STUDIES = Path(__file__).parents[2] / "jobs" / "studies"
TIMES = {
    "train_s", "score_s", "epoch_s", "started_at", "ended_at", "images_per_s", "flops_per_s", "compute_share",
    "node_use",
}  # fmt: skip
KEYS = {"runs": ["run_id"], "scores": ["run_id", "epoch", "benchmark"], "epochs": ["run_id", "epoch"]}
# The quickstart as shipped, but for the epochs of a run, and two of its five data sizes
QUICK_EPOCHS, QUICK_SIZES, QUICK_RUNS = 8, [5, 70], 16


def write_study(folder: Path, name: str, **changes: Any) -> Path:
    """A shipped study file with some of its fields changed."""
    content = yaml.safe_load((STUDIES / f"{name}.yaml").read_text()) | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def write_quickstart(folder: Path, **changes: Any) -> Path:
    """The quickstart with short runs."""
    training = {"epochs": QUICK_EPOCHS, "batch_size": 16, "warmup_epochs": 2}
    return write_study(folder, "quickstart", **{"training": training, "data_sizes": QUICK_SIZES} | changes)


def scaling(*words: object, cwd: Path, timeout_s: float = 500, env: dict[str, str] | None = None) -> Any:
    """Run the command in a process of its own; stdout and stderr are captured together."""
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *map(str, words)],
        cwd=cwd,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start_scaling(*words: object, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *map(str, words)], cwd=cwd, stdout=file, stderr=subprocess.STDOUT
        )


def results(folder: Path) -> dict[str, pd.DataFrame]:
    """A study's tables as any reader sees them, without the columns that are times."""
    return {name: without_times(name, pd.read_parquet(folder / name)) for name in KEYS}


def without_times(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table in the order of its keys, without the columns that differ from one run of a study to the next."""
    return table.drop(columns=list(TIMES & set(table.columns))).sort_values(KEYS[name]).reset_index(drop=True)


def descendants(pid: int) -> dict[int, str]:
    """Every living process below `pid`, with its command line."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: names[child] for child in below - {pid}}


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 120) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not happen in {timeout_s} s")


def kill_one(driver: int, title: str) -> int:
    """kill -9 the first process below the driver whose title starts so; its process id."""
    pids = wait_for(title, lambda: [pid for pid, name in descendants(driver).items() if name.startswith(title)])
    os.kill(pids[0], signal.SIGKILL)
    return int(pids[0])


def kill_anywhere(command: Sequence[object], cwd: Path, finished: Callable[[], int], moments: random.Random) -> None:
    """kill -9 of a training process, a scoring actor and the driver of `scaling COMMAND`, with runs ended and not."""
    driver = start_scaling(*command, cwd=cwd, log=cwd / "log")
    wait_for("a finished run", lambda: finished() >= 1, 500)
    for title in ("ray::ResourceTrainable", "ray::ScoringActor"):  # Tune's name for a class with resources
        time.sleep(moments.uniform(0, 3))
        kill_one(driver.pid, title)
    wait_for("more finished runs", lambda: finished() >= moments.randint(2, 4), 500)
    time.sleep(moments.uniform(0, 1))
    below = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_for("the end of Ray's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


def seeded_moments() -> random.Random:
    """When to kill; the seed is printed."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed of the moments: {seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The quickstart with short runs, undisturbed: (study file, folder it ran in, what it printed)."""
    folder = tmp_path_factory.mktemp("quickstart")
    path = write_quickstart(folder)
    done = scaling("run", path, cwd=folder)
    assert done.returncode == 0, done.stdout
    return path, folder, done.stdout
