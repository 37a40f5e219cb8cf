"""`scaling run` of studies with a `tune`: probes, rates, grid; run again; planned, told, killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from tests_jobs import descendants, scaling, start_scaling, wait_for
from typer.testing import CliRunner

from analysis.rates.report import RateReport
from jobs.answer import answer_study
from jobs.cli import app
from scaling.ledger import open_study

STUDY: dict[str, Any] = {
    "name": "tuned", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4]}],
    "data_sizes": [10, 30], "training": {"epochs": 4, "batch_size": 20},
    "tune": {"how": "each", "fields": {"lr": {"log": [0.003, 3]}}, "trials": 5, "share": 5},
    "benchmarks": ["simulated-ventral-stream.IT"],
}  # fmt: skip


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "tuned.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "storage": str(folder / "results"), **changes}))
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study that was tuned and trained: its file, and what was printed."""
    folder = tmp_path_factory.mktemp("tuned")
    path = write(folder, data_sizes=[10])
    done = scaling("run", path, cwd=folder)
    assert done.returncode == 0, done.stdout
    return path, done.stdout


def test_probes_come_first_and_stand_apart(tuned: tuple[Path, str]) -> None:
    path, printed = tuned
    results = path.parent / "results"
    probes, runs = (pd.read_parquet(results / name / "runs") for name in ("tuned.probes", "tuned"))
    assert (len(probes), len(runs)) == (10, 2)
    assert set(probes.seed) == {1}
    assert set(probes.status) <= {"finished", "cut", "diverged"}
    assert probes.accuracy.isna().all(), "the scored images were never seen"
    assert not list((results / "tuned.probes").glob("checkpoints/**/*.safetensors"))
    assert not (results / "tuned.probes/scores").exists()
    assert "probes: 2 of 2 cells x 5 trials, seed 1 (which the grid has not)" in printed
    assert ", lr 0.003 to 3, " in printed
    cut = probes[probes.status == "cut"]
    assert (cut.epochs_done == 2).all(), "grace is half of the epochs"
    assert cut.reason.str.fullmatch(r"cut off at epoch 2 of 4 by ASHA: validation loss \S+, the rung asks <= \S+").all()


def test_the_grid_is_trained_at_the_rates(tuned: tuple[Path, str]) -> None:
    path, _ = tuned
    study = open_study(path)
    assert study.rates is not None
    found = {cell["key"]: cell["fields"]["lr"] for cell in study.rates.report["grid"]}
    specs = pd.read_parquet(path.parent / "results/tuned/runs").spec.map(json.loads)
    assert sorted(spec["training"]["lr"] for spec in specs) == sorted(found.values())
    assert len(study.table()) == 2


def test_the_answer_and_the_page_tell_them(tuned: tuple[Path, str]) -> None:
    path, printed = tuned
    study = open_study(path)
    answer = path.parent / "results/tuned/answer"
    text = (answer / "laws.txt").read_text()
    assert "Rates (how: each): 2 cells searched, lr from 0.003 to 3" in text
    assert "exponents of the validation loss over" in text
    assert text.partition("Rates")[2].splitlines()[0] in printed
    assert json.loads((answer / "index.json").read_text())["rates"] == study.rates.report
    assert (answer / "rates.png").is_file()
    saved = answer_study(study)
    assert saved.rates == RateReport.model_validate(study.rates.report)
    told = CliRunner().invoke(app, ["report", str(path), "--out", str(path.parent / "page")])
    assert told.exit_code == 0, told.output
    assert "Losses about the best rate" in (path.parent / "page/report.html").read_text()


def test_mlflow_has_them_in_an_experiment_of_their_own(tuned: tuple[Path, str]) -> None:
    path, _ = tuned
    client = MlflowClient(f"sqlite:///{path.parent}/results/tuned/mlflow.db")
    experiment = client.get_experiment_by_name("tuned.probes")
    assert experiment is not None
    children = [r for r in client.search_runs([experiment.experiment_id]) if "mlflow.parentRunId" in r.data.tags]
    assert len(children) == 10
    assert {child.data.tags["scaling.probes"] for child in children} == {"tuned"}
    assert {float(child.data.params["lr"]) for child in children} == {0.003, 0.0169, 0.0949, 0.533, 3.0}
    assert {child.info.status for child in children} <= {"FINISHED", "KILLED", "FAILED"}
    assert all("validation_loss" in child.data.metrics for child in children if child.info.status != "FAILED")


def test_run_again_it_does_nothing_and_a_rate_stays(tuned: tuple[Path, str]) -> None:
    path, _ = tuned
    results = path.parent / "results"
    before = {file: file.stat().st_mtime_ns for file in results.glob("*/*/*.parquet")} | {
        file: file.stat().st_mtime_ns for file in results.glob("*/rates.json")
    }
    done = scaling("run", path, "--no-mlflow", cwd=path.parent)
    assert done.returncode == 0, done.stdout
    assert "probes:" not in done.stdout
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_before_it_is_tuned_everything_says_so(tmp_path: Path) -> None:
    path = str(write(tmp_path))
    planned = CliRunner().invoke(app, ["plan", path, "--throughput", "1e9"])
    assert planned.exit_code == 0, planned.output
    assert "probes: 4 of 4 cells x 5 trials" in planned.output
    assert "at most" in planned.output and "500.00% of the grid's" in planned.output  # noqa: PT018
    told = CliRunner().invoke(app, ["status", path])
    assert "tuned is not tuned yet: `scaling run` starts its probes" in told.output
    for words in (["recipe", path, "--flops", "1e9"], ["score", path], ["verify", path, "--flops", "1e9"],
                  ["report", path, "--out", str(tmp_path / "page")]):  # fmt: skip
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 2, refused.output
        assert "study 'tuned' is not tuned yet" in refused.output
    dear = write(tmp_path, tune=STUDY["tune"] | {"share": 1})
    for command in (["plan", str(dear), "--throughput", "1e9"], ["run", str(dear), "--no-mlflow"]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 2
        assert "5 of the grid's" in refused.output
    left = [file.name for file in (tmp_path / "results").glob("**/*") if file.is_file()]
    assert left == [".lock"], "of `score`; what is refused leaves nothing behind"


def test_of_what_the_share_is_is_said_where_a_stop_is(tmp_path: Path) -> None:
    for stop in ({}, {"stop": {"recipe": "IT", "budget": 1e10, "factor": 2}}):
        path = str(write(tmp_path, **stop))
        planned = CliRunner().invoke(app, ["plan", path, "--throughput", "1e9"])
        assert planned.exit_code == 0, planned.output
        assert ("the share is of the whole grid: `stop` may leave out" in planned.output) == bool(stop)


@pytest.mark.campaign
def test_killed_during_its_probes_it_finds_the_same_rates(tmp_path: Path) -> None:
    """With one slot, ASHA's decisions too are those of a study that nothing disturbed."""
    folders = [tmp_path / name for name in ("whole", "killed")]
    one = {"resources": {"cpus_per_worker": os.cpu_count() or 1}}
    paths = [write(folder, **one) for folder in folders if not folder.mkdir()]
    whole = scaling("run", paths[0], "--no-mlflow", cwd=folders[0])
    assert whole.returncode == 0, whole.stdout
    probes = folders[1] / "results/tuned.probes"
    for n in (3, 9):
        driver = start_scaling("run", paths[1], "--no-mlflow", cwd=folders[1], log=folders[1] / "log")
        wait_for("ended probes", lambda n=n: len(list(probes.glob("runs/*.parquet"))) >= n, 500)
        below = descendants(driver.pid)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        wait_for("the end of Ray", lambda below=below: not any(Path(f"/proc/{pid}").exists() for pid in below))
        assert not (folders[1] / "results/tuned/rates.json").exists()
    told = CliRunner().invoke(app, ["status", str(paths[1])])
    assert " of 20 probes have ended" in told.output
    again = scaling("run", paths[1], "--no-mlflow", cwd=folders[1])
    assert again.returncode == 0, again.stdout
    rates = [json.loads((folder / "results/tuned/rates.json").read_text()) for folder in folders]
    assert rates[0] == rates[1]
