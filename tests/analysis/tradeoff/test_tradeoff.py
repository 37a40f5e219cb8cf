"""Accuracy against alignment: published correlations, the break, the front."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis import ScalingTable, analyze_tradeoff
from analysis.tradeoff.breaks import fit_break
from analysis.tradeoff.correlation import _resampled_spearman
from analysis.tradeoff.tradeoff import pareto_front

TABLE = {  # ../shared/specs/harmonizer.md: Spearman over all models, up to 70 % accuracy, above it
    "V1": (0.44, 0.44, -0.33), "V2": (0.80, 0.77, 0.46), "V4": (0.83, 0.80, 0.14), "IT": (0.89, 0.88, -0.30),
    "behavior": (0.95, 0.89, 0.84),
}  # fmt: skip


def test_the_tradeoff_table_is_reproduced(plain: ScalingTable) -> None:
    rows = plain.select(dataset="imagenet")
    for region, expected in TABLE.items():
        found = analyze_tradeoff(rows, region, bootstrap=300, cluster=False)
        assert found.below
        assert found.above
        assert (found.everything.n, found.below.n, found.above.n) == (309, 244, 65)
        values = (found.everything.rho.value, found.below.rho.value, found.above.rho.value)
        assert values == pytest.approx(expected, abs=0.006), region
    assert found.above.rho.low is not None
    assert found.above.rho.high is not None
    assert (found.above.rho.low, found.above.rho.high) == pytest.approx((0.75, 0.89), abs=0.03)


def test_clusters_widen_the_interval(plain: ScalingTable) -> None:
    rows = plain.select(dataset="imagenet")
    rows_alone, clustered = (analyze_tradeoff(rows, "IT", bootstrap=300, cluster=c).above for c in (False, True))
    assert rows_alone
    assert clustered
    assert rows_alone.rho.high is not None
    assert clustered.rho.high is not None
    assert clustered.rho.high > rows_alone.rho.high
    assert rows_alone.rho.high < 0


def test_weighted_spearman_equals_scipy_on_copies() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 8, 40).astype(float), rng.normal(size=40)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=20)
    ours = _resampled_spearman(x, y, weights.astype(float))
    theirs = [spearmanr(np.repeat(x, w), np.repeat(y, w)).statistic for w in weights]
    np.testing.assert_allclose(ours, theirs)


def test_the_break_of_a_broken_line_is_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.9, 300)
    y = 0.1 + 0.5 * x - 0.9 * np.maximum(x - 0.7, 0) + rng.normal(0, 0.01, 300)
    table = ScalingTable.from_frame(pd.DataFrame({"accuracy": x, "score": y}))
    found = fit_break(table, bootstrap=200)
    assert found
    assert found.at.low is not None
    assert found.at.high is not None
    assert found.at.low < 0.7 < found.at.high
    assert found.at.value == pytest.approx(0.7, abs=0.03)
    assert found.slope_below.value == pytest.approx(0.5, abs=0.05)
    assert found.slope_above.value == pytest.approx(-0.4, abs=0.08)
    assert found.turns


def test_pareto_front_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    beaten = [any((x > x[i]) & (y > y[i])) for i in range(60)]
    assert sorted(pareto_front(x, y)) == [i for i in range(60) if not beaten[i]]


def test_a_model_counts_once_whatever_its_benchmarks() -> None:
    """Three benchmarks of a region are one score, their mean; rows of one model are no independent points."""
    rng = np.random.default_rng(0)
    models = [f"m{i}" for i in range(19)]
    scores = rng.uniform(0.1, 0.5, (19, 3))
    accuracy = rng.uniform(0.1, 0.6, 19)
    rows = [{"model": m, "family": "f", "region": "IT", "benchmark": f"b{j}", "accuracy": a, "score": s[j]}
            for m, a, s in zip(models, accuracy, scores, strict=True) for j in range(3)]  # fmt: skip
    found = analyze_tradeoff(ScalingTable.from_frame(pd.DataFrame(rows)), "IT", bootstrap=50)
    assert found.everything.n == 19
    assert found.everything.rho.value == pytest.approx(spearmanr(accuracy, scores.mean(axis=1)).statistic)
    lacking = analyze_tradeoff(ScalingTable.from_frame(pd.DataFrame(rows[1:])), "IT", bootstrap=0)
    assert lacking.everything.n == 18
    assert any("b0" in reason for reason in lacking.table.left_out)
