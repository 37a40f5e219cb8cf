"""Laws by target and recipes of a table, asked in words and as JSON."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import FitSpec, ScalingTable, ask_recipe, build_recipe, fit_targets


@pytest.fixture(scope="module")
def study(plant: Callable[..., ScalingTable]) -> ScalingTable:
    """25 runs, two regions, simulated benchmarks, accuracy."""
    rows = plant("chinchilla", n=5, noise=0.01).frame
    parts = [rows.assign(region=r, benchmark=f"simulated-{r}", run_id=[f"r{i}" for i in rows.index], family="cnn",
                         dataset="digits", accuracy=np.linspace(0.1, 0.9, len(rows)))
             for r in ("V1", "IT")]  # fmt: skip
    return ScalingTable.from_frame(pd.concat(parts))


def test_answers_in_text_and_in_json(study: ScalingTable) -> None:
    fit = fit_targets(study, FitSpec(bootstrap=30), region="IT", extrapolate=True)
    assert "status:" in fit.text()
    recipe = ask_recipe(build_recipe(study, "IT", bootstrap=30), flops=1e18, score=0.45, region="IT")
    assert "parameters N" in recipe.text()
    for answer in (fit, recipe):
        assert json.loads(json.dumps(answer.to_dict()))
    assert set(fit_targets(study, FitSpec(bootstrap=0)).laws) == {"V1", "IT"}
    with pytest.raises(ValueError, match="no row has region='V4'"):
        build_recipe(study, "V4")


def test_one_size_falls_back_to_a_law_in_compute(study: ScalingTable) -> None:
    one = study.where(study.values("n_params") == study.values("n_params")[0])
    answer = ask_recipe(build_recipe(one, "IT", bootstrap=30), flops=1e18, region="IT")
    assert answer.allocation
    assert answer.allocation.n_params is None
    assert answer.allocation.best_measured
