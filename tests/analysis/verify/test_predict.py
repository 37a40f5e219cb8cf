"""Predictions of runs that are yet to be trained: closed forms, and planted scatter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from analysis import Estimate, Recipe, ScalingTable, fit_law
from analysis.fit.trend import t_quantile
from analysis.verify.predict import one_run, predict_run, run_scatter, scatter

AXES = ("n_params", "samples_seen")


def test_without_scatter_one_run_is_the_law() -> None:
    mean = Estimate(value=0.8, low=0.75, high=0.84)
    found = one_run(mean, 0.0, 10, 0.95)
    assert (found.low, found.high) == (pytest.approx(0.75), pytest.approx(0.84))


def test_a_law_without_error_leaves_the_scatter() -> None:
    mean = Estimate(value=0.8, low=0.8, high=0.8)
    found, reach = one_run(mean, 0.1, 7, 0.95), 0.1 * t_quantile(0.95, 7)
    assert found.low == pytest.approx(1 - 0.2 * np.exp(reach))
    assert found.high == pytest.approx(1 - 0.2 * np.exp(-reach))


def test_the_squares_of_both_errors_add() -> None:
    mean = Estimate(value=0.8, low=1 - 0.2 * np.exp(0.3), high=1 - 0.2 * np.exp(-0.3))
    found = one_run(mean, 0.4 / t_quantile(0.95, 5), 5, 0.95)
    assert found.low == pytest.approx(1 - 0.2 * np.exp(0.5))
    assert found.high == pytest.approx(1 - 0.2 * np.exp(-0.5))


def test_no_bootstrap_no_interval() -> None:
    assert one_run(Estimate(value=0.8), 0.1, 5, 0.95) == Estimate(value=0.8)


def test_scatter_of_single_runs_in_numbers() -> None:
    """Configurations (0.1, 0.3), (-0.2, -0.2): means .2 and -.2, W = .02 / 2, B = .04 / free."""
    residual, configuration = np.array([0.1, 0.3, -0.2, -0.2]), np.array([4, 4, 9, 9])
    s, dof = run_scatter(residual, configuration, free=0.8)
    between, within = 0.04 / 0.8, 0.5 * 0.02 / 2
    assert s == pytest.approx(np.sqrt(between + within))
    assert dof == pytest.approx((between + within) ** 2 / (between**2 / 1.6 + within**2 / 2))


def test_scatter_of_one_run_a_configuration() -> None:
    s, dof = run_scatter(np.array([0.3, -0.1, 0.2, 0.0]), np.arange(4), free=0.5)
    assert s == pytest.approx(np.sqrt(np.mean([0.09, 0.01, 0.04, 0.0]) / 0.5))
    assert dof == 2.0


@pytest.mark.parametrize(("of_configuration", "of_run", "seeds"), [(0.0, 0.1, 4), (0.1, 0.0, 3), (0.06, 0.08, 2)])
def test_planted_scatter_comes_back(of_configuration: float, of_run: float, seeds: int) -> None:
    rng, squares = np.random.default_rng(0), []
    for _ in range(2000):
        shared = of_configuration * rng.standard_normal(12)
        residual = (shared[:, None] + of_run * rng.standard_normal((12, seeds))).ravel()
        squares.append(run_scatter(residual, np.repeat(np.arange(12), seeds), free=1.0)[0] ** 2)
    assert np.mean(squares) == pytest.approx(of_configuration**2 + of_run**2, rel=0.03)


def test_a_law_s_own_scatter_and_its_prediction(plant: Callable[..., ScalingTable]) -> None:
    rows = plant("chinchilla", n=6, noise=0.02)
    law = fit_law(rows, "chinchilla", AXES, bootstrap=100)
    s, dof = scatter(law)
    assert s == pytest.approx(0.02, rel=0.5)
    assert dof > 5
    recipe = Recipe.from_laws({"IT": law})
    axes = {name: float(np.max(rows.values(name))) for name in AXES}
    (said,) = predict_run(recipe, {"IT": law}, "resnet", axes).values()
    assert said.law.value == pytest.approx(float(law.predict_score(**axes)))
    assert said.run.low < said.law.low < said.law.value < said.law.high < said.run.high
    assert said.status == law.status


def test_no_prediction_of_a_law_that_is_not_usable(plant: Callable[..., ScalingTable]) -> None:
    law = fit_law(plant("chinchilla", n=3, noise=0.02), "chinchilla", AXES, bootstrap=20)
    if not law.usable:
        recipe = Recipe.from_laws({"IT": law})
        assert predict_run(recipe, {"IT": law}, "resnet", {"n_params": 1e6, "samples_seen": 1e6}) == {}
