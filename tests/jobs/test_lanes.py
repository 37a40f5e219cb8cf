"""kill -9 of a process with several runs in it, and of the driver: all go on and end as runs apart."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from tests_jobs import descendants, results, scaling, start_scaling, wait_for, without_times, write_quickstart

from scaling.data.images import ImageData
from scaling.ledger import open_study
from scaling.storage import Storage
from scaling.train.loop import train_run

MODELS = [
    {"family": "alexnet", "sizes": [4], "training": {"optimizer": "adamw", "lr": 0.002}},  # with dropout
    {"family": "resnet", "depth": 10, "sizes": [4], "training": {"lr": 0.05}},
]
BENCHMARKS = ["simulated-ventral-stream.IT"]


@pytest.mark.campaign  # tests/scaling/train/test_lanes.py compares the same runs without Ray
def test_killed_with_several_runs_in_it_a_process_loses_none(tmp_path: Path, digits_data: ImageData) -> None:
    changes = {"models": MODELS, "data_sizes": [70], "benchmarks": BENCHMARKS, "resources": {"cpus_per_worker": 0.5}}
    path = write_quickstart(tmp_path, **changes, training={"epochs": 16, "batch_size": 16})
    store = tmp_path / "results/quickstart"
    driver = start_scaling("run", path, "--no-mlflow", cwd=tmp_path, log=tmp_path / "log")
    resume_files = lambda: len(list((store / "checkpoints").glob("*/resume.safetensors")))  # noqa: E731
    wait_for("both runs on their way", lambda: resume_files() == 2, 600)
    (host,) = [pid for pid, name in descendants(driver.pid).items() if "LaneHost" in name]  # one, with both runs in it
    os.kill(host, signal.SIGKILL)
    below = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_for("the end of Ray's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    assert resume_files() == 2, "neither had ended"

    again = scaling("run", path, "--no-mlflow", cwd=tmp_path, timeout_s=600)

    assert again.returncode in (0, 1), again.stdout
    found, apart = results(store), Storage(tmp_path / "apart")
    for run in open_study(path).runs:
        list(train_run(run, digits_data, apart))
    for name in ("runs", "epochs"):
        expected = without_times(name, pd.read_parquet(tmp_path / "apart" / name))
        pd.testing.assert_frame_equal(found[name], expected, check_exact=True)
    assert sorted(found["scores"].run_id) == sorted(found["runs"].run_id)
