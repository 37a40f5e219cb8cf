"""A study with horizons by `scaling run`, which goes on where a process was killed: tables as of runs trained alone."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests_jobs import kill_anywhere, results, scaling, seeded_moments, without_times

from scaling.checkpoints import resume
from scaling.cluster.plan import plan_study
from scaling.ledger import open_study
from scaling.storage import Storage
from scaling.train import loop
from scaling.train.loop import Training

STUDY = {
    "name": "horizons", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4]}],
    "data_sizes": [20], "horizons": {"epochs": [1, 2, 3, 24]}, "storage": "results",
    "training": {"schedule": "wsd", "batch_size": 10, "warmup_epochs": 0.5, "lr": 0.05},
    "benchmarks": ["simulated-ventral-stream.IT"],
}  # fmt: skip


def alone(study, data, folder: Path) -> pd.DataFrame:
    """The table of the study's runs, each trained by itself in this process."""
    for run in study.runs:
        list(Training(run.model_copy(update={"trunk": None, "branches": ()}), data, Storage(folder)).epochs())
    return without_times("runs", pd.read_parquet(folder / "runs"))


def test_branches_are_the_runs_that_they_would_be_alone(tmp_path, digits_data, monkeypatch):
    path = tmp_path / "horizons.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    folder = tmp_path / "results" / "horizons"
    study = open_study(path, tmp_path / "results")
    first, *_, trunk = study.runs[:4]
    monkeypatch.setattr(loop, "EPOCH_INTERVAL_S", 0.0)
    monkeypatch.setattr(resume, "MOST_OF_TIME", math.inf)
    list(islice(Training(trunk, digits_data, study.storage).epochs(), 3))  # a trunk that was killed behind its states
    list(Training(first, digits_data, study.storage).epochs())  # and a branch that was done by then
    assert len(list(folder.glob(f"checkpoints/{trunk.run_id}/branch-*"))) == 3
    done = scaling("run", path, "--no-mlflow", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    study = open_study(path, tmp_path / "results")  # records are read once
    ran, apart = (
        table.drop(columns=["spec", "flops_spent"])
        for table in (results(folder)["runs"], alone(study, digits_data, tmp_path / "alone"))
    )
    pd.testing.assert_frame_equal(ran, apart)
    assert len(results(folder)["scores"]) == len(study.runs) == 8
    assert not list(folder.glob("checkpoints/*/branch-*")), "no state is left"
    assert not list(folder.glob("checkpoints/*/resume*"))
    spent = sum(record.flops_spent for record in study.records.values())
    assert spent <= sum(record.flops for record in study.records.values())
    planned = plan_study(study, tmp_path, None, 1e9)
    assert sum(plan.flops_spent for plan in planned.runs) == pytest.approx(spent)


@pytest.mark.campaign
def test_killed_anywhere_trunks_and_branches_end_as_alone(tmp_path, digits_data):
    """kill -9 of what trains a trunk or a branch, of an actor and of the driver."""
    path = tmp_path / "horizons.yaml"
    long = {"horizons": {"epochs": [20, 40, 60, 80]}, "data_sizes": [60]}
    path.write_text(yaml.safe_dump(STUDY | long))
    folder, command = tmp_path / "results" / "horizons", ["run", path, "--no-mlflow"]
    kill_anywhere(command, tmp_path, lambda: len(list(folder.glob("runs/*.parquet"))), seeded_moments())
    done = scaling(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    ran, apart = (
        table.drop(columns=["spec", "flops_spent"])
        for table in (
            results(folder)["runs"],
            alone(open_study(path, tmp_path / "results"), digits_data, tmp_path / "alone"),
        )
    )
    pd.testing.assert_frame_equal(ran, apart)
    assert len(results(folder)["scores"]) == len(ran) == 8
