"""`scaling verify` on a study whose records were planted: real models are trained, on real Ray."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
from mlflow import MlflowClient
from tests_jobs import descendants, scaling, start_scaling, wait_for
from typer.testing import CliRunner
from verified_study import BENCHMARK, write_planted

from jobs.answer import verifications_of
from jobs.cli import app
from scaling.ledger import open_study

BUDGET = "6e9"  # about twice the largest run's


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A verified study, and what was printed."""
    folder = tmp_path_factory.mktemp("verify")
    path = write_planted(folder)
    done = scaling("verify", path, "--flops", BUDGET, cwd=folder)
    assert done.returncode == 0, done.stdout
    return path, done.stdout


def test_it_says_what_was_predicted_and_what_came(verified: tuple[Path, str]) -> None:
    path, printed = verified
    (file,) = (path.parent / "results/planted.verify/verifications").glob("*.json")
    trials = json.loads(file.read_bytes())["trials"]
    assert [t["status"] for t in trials] == ["finished"] * 3
    assert all(set(t["got"]) == set(t["predictions"]) == {"IT", "accuracy"} for t in trials)
    assert "cost: " in printed.partition("predicted")[0]
    assert "seed 2 (which the study has not)" in printed
    assert ", got 0." in printed
    assert "held" in printed


@pytest.mark.campaign
def test_killed_it_resumes_and_the_predictions_stay(tmp_path: Path) -> None:
    path = write_planted(tmp_path)
    derived = tmp_path / "results/planted.verify"
    driver = start_scaling("verify", path, "--flops", BUDGET, cwd=tmp_path, log=tmp_path / "log")
    wait_for("predictions", lambda: list(derived.glob("verifications/*.json")))
    (predictions,) = derived.glob("verifications/*.json")
    first = json.loads(predictions.read_bytes())
    assert not list(derived.glob("runs/*.parquet")), "a run ended before its prediction was written"
    below = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_for("the end of Ray's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    done = scaling("verify", path, "--flops", BUDGET, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    last = json.loads(predictions.read_bytes())
    assert [t["status"] for t in first["trials"]] == ["open"] * 3
    assert [t["status"] for t in last["trials"]] == ["finished"] * 3
    assert [t["predictions"] for t in first["trials"]] == [t["predictions"] for t in last["trials"]]


def test_its_runs_stand_apart_and_enter_no_law(verified: tuple[Path, str]) -> None:
    path, _ = verified
    results = path.parent / "results"
    runs, own = (pd.read_parquet(results / name / "runs") for name in ("planted.verify", "planted"))
    assert set(runs.study) == {"planted.verify"}
    assert set(runs.seed) == {2}
    assert len(runs) == 3
    assert not set(runs.run_id) & set(own.run_id)
    assert len(open_study(path).table()) == len(own) == 32


def test_the_answer_holds_it(verified: tuple[Path, str]) -> None:
    path, _ = verified
    answer = path.parent / "results/planted/answer"
    (saved,) = json.loads((answer / "index.json").read_text())["verifications"]
    assert saved["trials"][0]["label"] == "recommended"
    text = (answer / "laws.txt").read_text()
    assert "Verifications: predicted by the law before training" in text
    assert text.count(", got 0.") == 6
    assert (answer / "calibration.png").is_file()
    rows = pd.read_csv(path.parent / "results/planted.verify/answer/calibration.csv")
    assert len(rows) == 6
    assert (rows.run_low < rows.law_low).all()


def test_mlflow_holds_prediction_interval_and_outcome(verified: tuple[Path, str]) -> None:
    path, _ = verified
    results = path.parent / "results"
    client = MlflowClient(f"sqlite:///{results}/planted/mlflow.db")
    experiment = client.get_experiment_by_name("planted.verify")
    assert experiment is not None
    assert "planted.verify/mlflow-artifacts" in experiment.artifact_location
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 3
    for child in children:
        found = child.data.metrics
        assert child.data.tags["scaling.verifies"] == "planted"
        assert found["predicted_run_low.IT"] < found["predicted_low.IT"] < found["predicted.IT"]
        assert found["predicted.IT"] < found["predicted_high.IT"] < found["predicted_run_high.IT"]
        assert found["got.IT"] == found[f"score.{BENCHMARK}"]
        assert found["got.accuracy"] == found["accuracy"]
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert "calibration.png" in {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_the_same_command_is_done_and_again_is_another(verified: tuple[Path, str]) -> None:
    path, _ = verified
    told = CliRunner().invoke(app, ["verify", str(path), "--flops", BUDGET, "--plan"])
    assert told.exit_code == 0, told.output
    assert "seed 2 " in told.output
    anew = CliRunner().invoke(app, ["verify", str(path), "--flops", BUDGET, "--plan", "--again"])
    assert "seed 3 " in anew.output
    within = CliRunner().invoke(app, ["verify", str(path), "--flops", "1e9", "--plan", "--region", "accuracy"])
    assert "within the study's), best for accuracy" in within.output
    assert len(verifications_of(open_study(path))) == 1


class RayStartedError(Exception):
    """Not a StudyError: the command must not catch it."""


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def started(*_: object, **__: object) -> None:
        raise RayStartedError

    monkeypatch.setattr(ray, "init", started)
    return None


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("planted"))


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--flops", "0"], ["flops=0 must be above 0"]),
        (["--flops", "-1e9"], ["flops=-1e+09 must be above 0"]),
        (["--flops", "nan"], ["flops=nan must be above 0 and finite"]),
        (["--flops", "inf"], ["flops=inf must be above 0 and finite"]),
        (["--flops", "much"], ["Invalid value for '--flops'", "valid number"]),
        ([], ["--flops"]),
        (["--flops", BUDGET, "--region", "V9"], ["unknown region 'V9'", "accuracy, IT"]),
        (["--flops", BUDGET, "--family", "vit"], ["unknown family 'vit'", "resnet"]),
        (["--flops", "1e4"], ["fewer than one of each of 10 classes", "raise --flops"]),
        (["--flops", "1.2e6"], ["batch_size=20 exceeds the", "verification"]),
    ],
)
def test_bad_input_ends_with_one_message_and_nothing_left(planted: Path, options: list[str], words: list[str]) -> None:
    told = CliRunner().invoke(app, ["verify", str(planted), "--no-mlflow", *options])
    assert told.exit_code == 2, told.output
    for word in words:
        assert word in told.output, told.output
    assert not list((planted.parent / "results/planted.verify").rglob("*.json"))


@pytest.mark.usefixtures("no_ray")
def test_a_law_that_splits_nothing_is_refused_with_its_trend(tmp_path: Path) -> None:
    path = write_planted(tmp_path, flat=True, noise=0.05)
    told = CliRunner().invoke(app, ["verify", str(path), "--flops", BUDGET])
    assert told.exit_code == 2
    assert "no law splits 6e+09 FLOP for IT, so nothing can be verified: resnet: " in told.output
    assert "whether misalignment changes is undetermined" in told.output
    assert not (tmp_path / "results/planted.verify").exists()


@pytest.mark.usefixtures("no_ray")
def test_a_study_that_has_not_run_and_a_damaged_verification_are_refused(planted: Path, tmp_path: Path) -> None:
    empty = CliRunner().invoke(app, ["verify", str(planted), "--flops", BUDGET, "--storage", str(tmp_path)])
    assert empty.exit_code == 2
    assert "has no finished, scored run; run it first" in empty.output
    folder = planted.parent / "results/planted.verify/verifications"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.json").write_text("{")
    try:
        told = CliRunner().invoke(app, ["verify", str(planted), "--flops", BUDGET])
    finally:
        (folder / "a.json").unlink()
    assert told.exit_code == 2
    assert "'a.json' is no verification of this version" in told.output
