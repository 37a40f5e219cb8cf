"""kill -9 of a training process, a scoring actor and the driver: the tables end the same, row for row."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pandas as pd
from tests_jobs import descendants, kill_one, results, scaling, start_scaling, wait_for, write_quickstart

MANY_IMAGES = [70]  # of the quickstart's data sizes: half of its runs, those that take long enough to be killed
N_RUNS = 8


def finished(store: Path) -> int:
    return len(list((store / "runs").glob("*.parquet")))


def test_killed_anywhere_a_study_ends_with_the_same_tables(quickstart: tuple[Path, Path, str], tmp_path: Path) -> None:
    path, undisturbed = write_quickstart(tmp_path, data_sizes=MANY_IMAGES), quickstart[1]
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    print(f"seed of the moments: {seed}")
    store = tmp_path / "results/quickstart"
    driver = start_scaling("run", path, cwd=tmp_path, log=tmp_path / "log")
    wait_for("a finished run", lambda: finished(store) >= 1)
    for title in ("ray::RunTrainable", "ray::ScoringActor"):
        time.sleep(moments.uniform(0, 3))
        kill_one(driver.pid, title)
    wait_for("more finished runs", lambda: finished(store) >= moments.randint(2, 4))
    time.sleep(moments.uniform(0, 1))
    below = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_for("the end of Ray's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    done = [file for file in (store / "runs").glob("*.parquet") if pd.read_parquet(file).status[0] == "finished"]
    before = {file: file.stat().st_mtime_ns for file in done}
    assert 0 < len(before) < N_RUNS, (tmp_path / "log").read_text()

    again = scaling("run", path, cwd=tmp_path)

    assert again.returncode == 0, again.stdout
    assert {file: file.stat().st_mtime_ns for file in before} == before, "a finished run was trained again"
    expected, found = results(undisturbed / "results/quickstart"), results(store)
    assert len(found["runs"]) == N_RUNS
    for name, table in expected.items():
        table = table[table.run_id.isin(found["runs"].run_id)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[name], table, check_exact=True, check_dtype=False)


def test_a_second_driver_is_refused(quickstart: tuple[Path, Path, str], tmp_path: Path) -> None:
    path, _, _ = quickstart
    first = start_scaling("run", path, cwd=tmp_path, log=tmp_path / "log")
    try:
        wait_for("the lock", lambda: (tmp_path / "results/quickstart/mlflow.db").exists())
        second = scaling("run", path, cwd=tmp_path)
        assert second.returncode == 2
        assert "another `scaling run`" in second.stdout
        assert not (tmp_path / "results/quickstart/scores").exists(), "the first driver was too fast to tell"
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
