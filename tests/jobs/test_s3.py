"""The quickstart with a bucket for its storage: killed anywhere, resumed, scored and answered by the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from tests_jobs import (
    QUICK_EPOCHS,
    STUDIES,
    kill_anywhere,
    results,
    scaling,
    seeded_moments,
    without_times,
    write_quickstart,
)

from scaling.layout import ANSWER, CHECKPOINTS, EPOCHS, RAY_FOLDER, RUNS, SCORES
from scaling.place import Place
from scaling.storage import Storage

SIZES = [4, 16]  # of four; with the quickstart's families and data sizes
N_RUNS = 8


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> tuple[Path, str, Any]:
    """The study's file, its storage, and what its run printed after a trainer, an actor and the driver died."""
    folder = tmp_path_factory.mktemp("s3")
    models = [model | {"sizes": SIZES} for model in yaml.safe_load((STUDIES / "quickstart.yaml").read_text())["models"]]
    path = write_quickstart(folder, models=models, mlflow=f"sqlite:///{folder}/mlflow.db")
    uri = Place.of(s3_server).child("results").uri
    command, store = ["run", path, "--storage", uri], Storage(uri).child("quickstart")
    kill_anywhere(command, folder, lambda: len(store.names(RUNS)), seeded_moments())
    before = ended(uri)
    assert 0 < len(before) < N_RUNS, (folder / "log").read_text()
    again = scaling(*command, cwd=folder)
    assert {run_id: ended(uri)[run_id] for run_id in before} == before, "a finished run was trained again"
    return path, uri, again


def ended(uri: str) -> dict[str, Any]:
    """When each finished run ended, by its id."""
    store = Storage(uri).child("quickstart")
    runs = pd.read_parquet(store.path(RUNS), filesystem=store.filesystem).query("status == 'finished'")
    return dict(zip(runs.run_id, runs.ended_at, strict=True))


def tables(uri: str) -> dict[str, pd.DataFrame]:
    store = Storage(uri).child("quickstart")
    return {name: pd.read_parquet(store.path(name), filesystem=store.filesystem) for name in (RUNS, SCORES, EPOCHS)}


def test_its_tables_are_those_of_a_local_disk(study: tuple[Path, str, Any], quickstart: tuple[Path, Path, str]) -> None:
    _, uri, done = study
    assert done.returncode == 0, done.stdout
    found, expected = tables(uri), results(quickstart[1] / "results/quickstart")
    assert len(found[RUNS]) == N_RUNS
    for name, whole in expected.items():
        table = whole[whole.run_id.isin(found[RUNS].run_id)].reset_index(drop=True)
        pd.testing.assert_frame_equal(without_times(name, found[name]), table, check_exact=True, check_dtype=False)


def test_nothing_else_is_left(study: tuple[Path, str, Any]) -> None:
    _, uri, done = study
    store = Storage(uri).child("quickstart")
    assert not store.exists(RAY_FOLDER), "Ray's own files are left behind"
    for run_id in tables(uri)[RUNS].run_id:
        assert store.names(f"{CHECKPOINTS}/{run_id}") == [f"epoch-{QUICK_EPOCHS:05}.safetensors"], done.stdout
    assert [place.name for place in study[0].parent.iterdir() if "s3" in place.name or "results" in place.name] == []


def test_it_is_answered_with_recipes(study: tuple[Path, str, Any]) -> None:
    path, uri, done = study
    assert done.returncode == 0, done.stdout
    assert "Recipe for" in done.stdout
    names = Storage(uri).child("quickstart").names(ANSWER)
    assert {"laws.txt", "recipe-resnet.json", "score-against-compute-resnet.png"} <= set(names), done.stdout
    printed = scaling("recipe", path, "--storage", uri, "--flops", "1e12", "--json", cwd=path.parent)
    assert set(json.loads(printed.stdout)["families"]) == {"alexnet", "resnet"}, printed.stdout


def test_status_reads_it(study: tuple[Path, str, Any]) -> None:
    path, uri, _ = study
    printed = scaling("status", path, "--storage", uri, cwd=path.parent)
    assert f"{N_RUNS} runs: {N_RUNS} finished; 0 checkpoints to score" in printed.stdout


@pytest.mark.campaign
def test_run_again_it_makes_up_for_what_is_lost_and_for_nothing_else(study: tuple[Path, str, Any]) -> None:
    path, uri, _ = study
    before = tables(uri)
    lost = before[RUNS].run_id.iloc[0]
    store = Storage(uri).child("quickstart")
    store.write_bytes(f"{RUNS}/{lost}.parquet", b"half of a file")
    store.delete(f"{SCORES}/{lost}-{QUICK_EPOCHS:05}.parquet")
    again = scaling("run", path, "--storage", uri, cwd=path.parent)
    after = tables(uri)
    begun = {name: dict(zip(frame.run_id, frame.started_at, strict=True)) for name, frame in
             (("before", before[RUNS]), ("after", after[RUNS]))}  # fmt: skip
    changed = {run_id for run_id in begun["before"] if begun["before"][run_id] != begun["after"][run_id]}
    assert changed == {lost}, again.stdout
    columns = ["run_id", "epoch", "benchmark", "raw", "score"]
    pd.testing.assert_frame_equal(before[SCORES][columns], after[SCORES][columns], check_exact=True)


def test_a_store_that_is_gone_is_said_without_its_credentials(study: tuple[Path, str, Any]) -> None:
    path, _, _ = study
    gone = "s3://someone:s3cret@bucket/x?endpoint_override=http%3A%2F%2F127.0.0.1%3A9&scheme=http"
    printed = scaling("run", path, "--storage", gone, cwd=path.parent, timeout_s=90)
    assert printed.returncode == 2, printed.stdout
    assert "cannot be" in printed.stdout
    assert "s3cret" not in printed.stdout
    shutil.rmtree(path.parent / "none", ignore_errors=True)
