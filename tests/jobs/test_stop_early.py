"""A study with a `stop`, by the command: it ends early, lists what it left out, and trains it once `stop` is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests_jobs import results, scaling

STUDY: dict[str, Any] = {
    "name": "early",
    "dataset": "digits",
    "models": [{"family": "resnet", "depth": 10, "sizes": [4]}],
    "data_sizes": [20, 24, 28, 34, 40, 48, 57, 68, 80, 95, 112, 130],
    "training": {"epochs": 3, "batch_size": 10, "lr": 0.05},
    "benchmarks": ["simulated-ventral-stream.IT"],
    "scoring": {"resamples": 0, "cpus": 1},
}
STOP = {"recipe": "accuracy", "budget": 5e8, "factor": 20, "round": 1}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "early.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes))
    return path


@pytest.mark.campaign
def test_a_study_stops_early_and_goes_on_without_stop(tmp_path: Path) -> None:
    done = scaling("run", write(tmp_path, stop=STOP), cwd=tmp_path, timeout_s=600)
    assert done.returncode == 0, done.stdout
    assert "enough is known: accuracy at 5e+08 FLOP, resnet: error" in done.stdout
    first = results(tmp_path / "results/early")["runs"]
    n_left = len(STUDY["data_sizes"]) - len(first)
    assert 0 < n_left < 6, done.stdout
    assert sorted(first.images_per_class) == STUDY["data_sizes"][: len(first)], "cheapest first"
    assert f"left out: {n_left} runs" in done.stdout
    assert "130 images/class" in done.stdout, "each by name"

    status = scaling("status", tmp_path / "early.yaml", cwd=tmp_path).stdout
    assert f"early: 12 runs: {len(first)} finished, {n_left} left out; 0 checkpoints to score" in status
    assert f"left out: {n_left} runs" in status
    plan = scaling("plan", tmp_path / "early.yaml", "--throughput", "1e9", cwd=tmp_path).stdout
    assert f"12 runs, {len(first)} done" in plan
    assert f"left out: {n_left} runs" in plan

    again = scaling("run", tmp_path / "early.yaml", cwd=tmp_path)  # the same decision, from the records
    assert again.returncode == 0, again.stdout
    assert "running" not in again.stdout
    assert f"left out: {n_left} runs" in again.stdout

    rest = scaling("run", write(tmp_path), cwd=tmp_path, timeout_s=600)
    assert rest.returncode == 0, rest.stdout
    assert "left out" not in rest.stdout
    runs = results(tmp_path / "results/early")["runs"]
    assert len(runs) == 12
    assert set(runs.status) == {"finished"}
    assert runs[runs.run_id.isin(first.run_id)].reset_index(drop=True).equals(first), "nothing is trained again"
