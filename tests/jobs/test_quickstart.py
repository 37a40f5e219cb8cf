"""One study file in, one recipe out: the quickstart on real Ray, Parquet and MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pandas as pd
from mlflow import MlflowClient
from tests_jobs import QUICK_EPOCHS, QUICK_RUNS, results, scaling

from analysis import Recipe

REGIONS = {"V1", "V2", "V4", "IT", "behavior"}


def test_every_run_is_trained_scored_and_answered(quickstart: tuple[Path, Path, str]) -> None:
    _, folder, printed = quickstart
    tables = results(folder / "results/quickstart")
    assert len(tables["runs"]) == QUICK_RUNS
    assert set(tables["runs"].status) == {"finished"}
    assert len(tables["scores"]) == QUICK_RUNS * len(REGIONS)
    assert set(tables["scores"].region) == REGIONS
    assert "Recipe for" in printed
    assert "simulated" in printed
    assert not list((folder / "results/quickstart").glob("ray*")), "Ray's own files are left behind"


def test_compute_is_three_forward_passes_a_sample(quickstart: tuple[Path, Path, str]) -> None:
    runs = results(quickstart[1] / "results/quickstart")["runs"]
    assert (runs.samples_seen == QUICK_EPOCHS * runs.n_samples).all()
    assert (runs.flops == 3 * runs.flops_per_image * runs.samples_seen).all()
    per_class = runs.images_per_class.fillna(0) * 10
    assert (runs.n_samples == per_class.where(per_class > 0, 1437)).all()


def test_more_images_make_better_models(quickstart: tuple[Path, Path, str]) -> None:
    runs = results(quickstart[1] / "results/quickstart")["runs"]
    accuracy = runs.groupby(["family", "n_samples"]).accuracy.mean()
    for family in ("resnet", "alexnet"):
        assert accuracy[family, 700] > accuracy[family, 50] + 0.1


def test_duckdb_reads_the_store_without_this_code(quickstart: tuple[Path, Path, str]) -> None:
    store = quickstart[1] / "results/quickstart"
    query = f"""select family, count(*) n, max(score) best from '{store}/scores/*.parquet'
                join '{store}/runs/*.parquet' using (run_id) where region = 'IT' group by family order by family"""
    rows = duckdb.sql(query).fetchall()
    assert [(family, n) for family, n, _ in rows] == [("alexnet", QUICK_RUNS / 2), ("resnet", QUICK_RUNS / 2)]
    assert max(best for *_, best in rows) == pd.read_parquet(store / "scores").query("region == 'IT'").score.max()


def test_running_again_retrains_nothing(quickstart: tuple[Path, Path, str]) -> None:
    path, folder, _ = quickstart
    store = folder / "results/quickstart"
    before = {file: file.stat().st_mtime_ns for part in ("runs", "scores", "checkpoints") for file in
              (store / part).rglob("*.*")}  # fmt: skip
    again = scaling("run", path, cwd=folder)
    assert again.returncode == 0
    assert "checkpoints scored" not in again.stdout, "Ray was started though nothing was open"
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_status_and_recipe_answer_from_the_store(quickstart: tuple[Path, Path, str]) -> None:
    path, folder, _ = quickstart
    status = scaling("status", path, cwd=folder)
    assert f"{QUICK_RUNS} runs: {QUICK_RUNS} finished; 0 checkpoints to score" in status.stdout
    answer = scaling("recipe", path, "--flops", "1e12", "--region", "IT", "--json", cwd=folder)
    assert answer.returncode == 0, answer.stdout
    families = json.loads(answer.stdout)["families"]
    assert set(families) == {"alexnet", "resnet"}
    for allocation in families.values():
        assert allocation["n_params"] or allocation["reason"], "no number and no reason"


def test_saved_recipes_load_and_answer_alike(quickstart: tuple[Path, Path, str]) -> None:
    path, folder, _ = quickstart
    saved = Recipe.load(folder / "results/quickstart/answer/recipe-resnet.json")
    printed = scaling("recipe", path, "--flops", "1e12", "--family", "resnet", "--json", cwd=folder)
    assert saved.allocate(1e12, "IT").to_dict() == json.loads(printed.stdout)["families"]["resnet"]


def test_mlflow_holds_one_parent_and_a_child_a_run(quickstart: tuple[Path, Path, str]) -> None:
    store = quickstart[1] / "results/quickstart"
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("quickstart")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(parents), len(children)) == (1, QUICK_RUNS)
    records = pd.read_parquet(store / "runs").set_index("run_id")
    scores = pd.read_parquet(store / "scores").set_index(["run_id", "benchmark"])
    for child in children:
        run_id = child.data.params["run_id"]
        assert child.data.metrics["accuracy"] == records.accuracy[run_id]
        it = "simulated-ventral-stream.IT"
        assert child.data.metrics[f"score.{it}"] == scores.score[run_id, it]
        assert len(client.get_metric_history(child.info.run_id, "loss")) == QUICK_EPOCHS
    names = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert {"score-against-compute-resnet.png", "recipe-alexnet.json", "laws.txt"} <= names
