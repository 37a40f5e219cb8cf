"""Importance maps that twins need are asked for before anything starts."""

from __future__ import annotations

import pytest
import ray
from rich.console import Console

from jobs.study_run import run_study
from scaling.cluster.driver import RunOptions
from scaling.errors import StudyError
from scaling.ledger import open_study


@pytest.mark.parametrize(
    ("dataset", "benchmark", "message"),
    [
        ("digits", "human-alignment", r"human-alignment needs importance maps .* there are none \(digits held-out\)"),
        ("simulated-clickme", "human-alignment.max_abs", r"are simulated; name simulated-human-alignment"),
    ],
)
def test_maps_that_are_missing_or_simulated_are_refused_before_ray_starts(
    make_study, tmp_path, monkeypatch, dataset, benchmark, message
):
    study = make_study(dataset=dataset, benchmarks=[benchmark], storage=str(tmp_path / "results"))
    options = RunOptions(tmp_path, cache_dir=tmp_path / "cache")
    monkeypatch.setattr("scaling.cluster.driver.ray_session", lambda *_: pytest.fail("Ray was started"))
    with pytest.raises(StudyError, match=message):
        run_study(open_study(study), options, Console(), use_mlflow=False)
    assert not ray.is_initialized()
    assert not list((tmp_path / "results").rglob("*.parquet"))
