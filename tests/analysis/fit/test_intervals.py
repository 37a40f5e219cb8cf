"""Bootstrap weights, intervals, and their coverage on planted laws."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from analysis import ScalingTable, fit_law
from analysis.fit.resample import bca_interval, bootstrap_weights, jackknife_weights

STUDIES = 25  # standard error of a coverage of 95 %: 4.4 points; parameters are pooled, a larger run is a benchmark


def test_weights_keep_clusters_and_strata() -> None:
    clusters = np.array([0, 0, 1, 1, 2, 3, 3])
    strata = np.array([0, 0, 0, 0, 1, 1, 1])
    weights = bootstrap_weights(clusters, strata, 200, seed=0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2]].sum(axis=1) == 2).all()
    assert (weights[:, [4, 5]].sum(axis=1) == 2).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(clusters, strata, 200, seed=0))
    assert (jackknife_weights(clusters).sum(axis=0) == 3).all()


def test_bca_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.exponential(size=60)
    weights = bootstrap_weights(np.arange(60), np.zeros(60, dtype=int), 20_000, seed=1)
    draws = weights @ x / 60
    left_out = jackknife_weights(np.arange(60)) @ x / 59
    theirs = scipy_bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", rng=rng).confidence_interval
    np.testing.assert_allclose(bca_interval(draws, x.mean(), left_out, 0.95), theirs, rtol=0.02)
    assert np.quantile(draws, 0.025) < bca_interval(draws, x.mean(), left_out, 0.95)[0]


def test_bca_of_constant_draws_is_that_constant() -> None:
    assert bca_interval(np.zeros(50), 0.0, np.zeros(9), 0.95) == (0.0, 0.0)


def test_intervals_are_deterministic_by_seed(plant: Callable[..., ScalingTable]) -> None:
    rows = plant("power_law", n=5, noise=0.03)
    first, again, other = (fit_law(rows, bootstrap=60, seed=s).interval("alpha") for s in (0, 0, 1))
    assert first == again != other


def test_interval_needs_a_bootstrap_and_a_level(plant: Callable[..., ScalingTable]) -> None:
    law = fit_law(plant("power_law", n=5, noise=0.03), bootstrap=0)
    with pytest.raises(ValueError, match="fit with bootstrap=1000"):
        law.interval("alpha")
    with pytest.raises(ValueError, match="between 0 and 1"):
        law.interval("alpha", 95)
    with pytest.raises(ValueError, match="no parameter 'gamma'; it has E, A, alpha"):
        law.interval("gamma")


@pytest.mark.parametrize("form", ["power_law", "chinchilla"])
def test_coverage_of_the_95_percent_interval(
    plant: Callable[..., ScalingTable], planted_params: dict, form: str
) -> None:
    """Planted laws with 3 % log-normal noise on 64 runs: 95 % intervals hold the truth in 93 to 97 % (± error)."""
    axes = ("flops",) if form == "power_law" else ("n_params", "samples_seen")
    hits = []
    for seed in range(STUDIES):
        law = fit_law(plant(form, noise=0.03, seed=seed), form, axes, bootstrap=200, seed=seed)
        spans = {name: law.interval(name) for name in law.names}
        hits.append([low <= planted_params[form][name] <= high for name, (low, high) in spans.items()])
    error = np.sqrt(0.95 * 0.05 / STUDIES)
    assert 0.93 - error < np.mean(hits) < 0.97 + error
