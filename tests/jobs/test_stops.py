"""What ends a study from outside, in real processes: Ctrl-C, a head that dies. One line, and it goes on."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests_jobs import descendants, wait_for

from scaling.checkpoints.resume import EPOCH_INTERVAL_S
from scaling.layout import resume_name
from scaling.ledger import open_study

GOES_ON = "the same command goes on"
# Two resource shapes; the first one's runs would take minutes
SLOW = {
    "name": "slow",
    "dataset": "digits",
    "models": [
        {"family": "resnet", "depth": 10, "sizes": [2, 4, 8]},
        {"family": "vit", "depth": 2, "heads": 3, "sizes": [12], "resources": {"workers": 2}},
    ],
    "data_sizes": [20],
    "training": {"epochs": 4000, "batch_size": 16},
    "checkpoints": {"score": [1, "last"]},
    "benchmarks": ["simulated-ventral-stream.IT"],
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "slow.yaml"
    path.write_text(yaml.safe_dump(SLOW | {"storage": str(tmp_path / "results")}))
    return path


def start(study: Path, *words: str, env: dict[str, str] | None = None) -> tuple[subprocess.Popen[bytes], Path]:
    """`scaling run` in a process group of its own, as a terminal's; its output goes to a file."""
    log = study.with_suffix(".log")
    command = [sys.executable, "-m", "jobs.cli", "run", str(study), "--no-mlflow", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | (env or {}), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return process, log


def trained(study: Path) -> set[str]:
    """The runs of which anything was kept."""
    return {path.parent.name for path in study.parent.glob("results/slow/checkpoints/*/epoch-*")}


def said(log: Path) -> list[str]:
    """What stands in the log beside the progress."""
    lines = log.read_text().splitlines()
    return [line for line in lines if not line.startswith("runs: ")]


def resume_files(study: Path) -> list[Path]:
    files = [study.parent / "results/slow" / resume_name(run_id) for run_id in trained(study)]
    return [path for path in files if path.exists()]


def check_not_begun(study: Path) -> None:
    """No run ended, and none of the second shape began."""
    work = open_study(study).open_work()
    assert len(work.train) == 4
    wide = {run.run_id for run in work.train if run.resources.workers > 1}
    assert wide
    assert wide.isdisjoint(trained(study))


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), pytest.param(signal.SIGTERM, 143, "terminated", marks=pytest.mark.campaign)],
)
def test_one_signal_ends_a_study_of_two_shapes_at_once(study, number, status, word):
    """To the group: a terminal's Ctrl-C, or `scancel` of a job step, which signals all of its processes."""
    process, log = start(study)
    try:
        wait_for("two resume files", lambda: len(resume_files(study)) == 2)
        below, signalled = descendants(process.pid), time.time()
        os.killpg(process.pid, number)
        assert process.wait(timeout=20) == status
        if number == signal.SIGINT:  # SIGTERM ends the training processes themselves
            # Those that wait for Tune between epochs have saved 2 s before at most (and a busy machine)
            assert min(path.stat().st_mtime for path in resume_files(study)) >= signalled - EPOCH_INTERVAL_S - 5
        assert said(log) == [f"{word}: {GOES_ON}"]
        check_not_begun(study)
        wait_for("the end of Ray's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 20)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A head whose processes live on when one of them dies: (address, environment)."""
    port, folder = free_port(), f"/tmp/ray-{secrets.token_hex(4)}"
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=2",
               "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats",
               f"--temp-dir={folder}"]  # fmt: skip
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True)
        yield f"127.0.0.1:{port}", environment | {"folder": folder}
    finally:
        for pid in of_head(folder):
            os.kill(pid, signal.SIGKILL)


def of_head(folder: str, program: str = "") -> list[int]:
    """Ids of the processes of a head, by its folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(folder in word for word in words) and words[0].endswith(program):
            found.append(int(path.name))
    return found


@pytest.mark.campaign
def test_a_head_that_dies_ends_it(study, head):
    address, environment = head
    folder = environment.pop("folder")
    # Ray's own client ends the process after so long, without a word of ours
    environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "12"
    process, log = start(study, f"--address={address}", env=environment)
    try:
        wait_for("a checkpoint", lambda: trained(study))
        (gcs,) = of_head(folder, "gcs_server")
        os.kill(gcs, signal.SIGKILL)
        assert process.wait(timeout=40) == 1
        (line,) = said(log)
        assert line.startswith("the Ray cluster is gone (")
        assert GOES_ON in line
        check_not_begun(study)
    finally:
        end(process)
