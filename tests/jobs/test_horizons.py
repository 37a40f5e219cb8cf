"""A study with horizons by `scaling run`, ended in the middle: its tables are those of runs trained alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests_jobs import TIMES, results, scaling, start_scaling, wait_for

from scaling.cluster.plan import plan_study
from scaling.ledger import open_study
from scaling.records import ResultsStore
from scaling.storage import Storage
from scaling.train.loop import Training

STUDY = {
    "name": "horizons", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4]}],
    "data_sizes": [20], "horizons": {"epochs": [1, 2, 3, 24]}, "storage": "results",
    "training": {"schedule": "wsd", "batch_size": 10, "warmup_epochs": 0.5, "lr": 0.05},
    "benchmarks": ["simulated-ventral-stream.IT"],
}  # fmt: skip


def alone(study, data, folder: Path) -> pd.DataFrame:
    """The records of the study's runs, each trained by itself in this process."""
    storage = Storage(folder)
    for run in study.runs:
        list(Training(run.model_copy(update={"trunk": None, "branches": ()}), data, storage).epochs())
    return pd.DataFrame([record.model_dump() for record in ResultsStore(storage).read_runs().values()])


def test_branches_are_the_runs_that_they_would_be_alone(tmp_path, digits_data):
    path = tmp_path / "horizons.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    folder = tmp_path / "results" / "horizons"
    driver = start_scaling("run", path, "--no-mlflow", cwd=tmp_path, log=tmp_path / "log")
    try:
        wait_for("a trunk's state", lambda: list(folder.glob("checkpoints/*/branch-*")) or driver.poll() is not None)
    finally:
        driver.terminate()
        driver.wait(60)
    done = scaling("run", path, "--no-mlflow", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    study = open_study(path, tmp_path / "results")
    ignored = [*(TIMES - {"score_s", "epoch_s"}), "spec", "flops_spent"]
    tables = [
        table.drop(columns=ignored, errors="ignore").sort_values("run_id").reset_index(drop=True)
        for table in (results(folder)["runs"], alone(study, digits_data, tmp_path / "alone"))
    ]
    pd.testing.assert_frame_equal(*tables, check_dtype=False)
    assert len(results(folder)["scores"]) == len(study.runs) == 8
    assert not list(folder.glob("checkpoints/*/branch-*")), "no state is left"
    assert not list(folder.glob("checkpoints/*/resume*"))
    spent = sum(record.flops_spent for record in study.records.values())
    assert spent <= sum(record.flops for record in study.records.values())
    planned = plan_study(study, tmp_path, None, 1e9)
    assert sum(plan.flops_spent for plan in planned.runs) == pytest.approx(spent)
