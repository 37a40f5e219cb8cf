"""Extrapolation, families, cross-checks, and accuracy against alignment."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import spearmanr

from analysis import ScalingTable, analyze_tradeoff, compare_families, compare_forms, treatment_arrows
from analysis.recipe.crosscheck import compute_envelope, isoflop_profiles
from analysis.tradeoff.breaks import fit_break
from analysis.tradeoff.correlation import _resampled_spearman
from analysis.tradeoff.tradeoff import pareto_front

Plant = Callable[..., ScalingTable]
TABLE = {  # ../shared/specs/harmonizer.md: Spearman over all models, up to 70 % accuracy, above it
    "V1": (0.44, 0.44, -0.33), "V2": (0.80, 0.77, 0.46), "V4": (0.83, 0.80, 0.14), "IT": (0.89, 0.88, -0.30),
    "behavior": (0.95, 0.89, 0.84),
}  # fmt: skip


def test_the_true_form_extrapolates_best(plant: Plant) -> None:
    test = compare_forms(plant("chinchilla", n=10, noise=0.005), 1e17)
    assert test.chosen.form in ("chinchilla", "data_constrained")
    assert test.trials[-1].form == "constant"
    assert test.chosen.median_error < 0.01
    assert "chosen" in test.to_dict()


def test_a_threshold_outside_the_compute_is_refused(plant: Plant) -> None:
    with pytest.raises(ValueError, match="choose one within"):
        compare_forms(plant("chinchilla"), 1e30)


def test_families_rank_and_cross() -> None:
    """Two planted laws that cross at 1e17 FLOP."""
    C, rng = np.geomspace(1e14, 1e20, 60), np.random.default_rng(0)
    laws = {"early": 0.5 + 0.2 * (C / 1e17) ** -0.15, "late": 0.3 + 0.4 * (C / 1e17) ** -0.15}
    frame = pd.concat([pd.DataFrame({"flops": C, "score": 1 - y * np.exp(rng.normal(0, 0.003, 60)), "family": f})
                       for f, y in laws.items()])  # fmt: skip
    comparison = compare_families(ScalingTable.from_frame(frame), bootstrap=100)
    assert comparison.rank(1e15).best == "early"
    assert comparison.rank(1e19).best == "late"
    assert comparison.rank(1e19).share_best["late"] == 1.0
    (crossing,) = comparison.crossings()
    assert (crossing.below, crossing.above) == ("early", "late")
    assert crossing.flops.value == pytest.approx(1e17, rel=0.2)


def test_a_family_that_cannot_be_fitted_is_named() -> None:
    frame = pd.DataFrame({"flops": np.geomspace(1e14, 1e16, 3), "score": [0.1, 0.2, 0.3], "family": "tiny"})
    comparison = compare_families(ScalingTable.from_frame(frame), bootstrap=10)
    assert comparison.excluded["tiny"].startswith("too few points")


def test_isoflop_profiles_find_the_optimum_of_a_filled_plane() -> None:
    params = {"E": 0.3, "A": 40.0, "alpha": 0.4, "B": 40.0, "beta": 0.4}
    C, N = (a.ravel() for a in np.meshgrid(np.geomspace(1e15, 1e20, 8), np.geomspace(1e5, 1e9, 25)))
    D = C / (6 * N)
    score = 1 - (params["E"] + params["A"] * N**-0.4 + params["B"] * D**-0.4)
    table = ScalingTable.from_frame(
        pd.DataFrame({"n_params": N, "samples_seen": D, "flops": C, "score": np.minimum(score, 1)})
    )
    for frontier in (isoflop_profiles(table), compute_envelope(table)):
        assert frontier.exponent_n == pytest.approx(0.5, abs=0.12)  # the envelope knows the sizes tested alone
        assert frontier.exponent_d == pytest.approx(0.5, abs=0.12)


def test_an_empty_plane_gives_no_exponents(plant: Plant) -> None:
    rows = plant("chinchilla")
    one = rows.where(rows.values("n_params") == rows.values("n_params")[0])
    assert isoflop_profiles(one).exponent_n is None
    assert "no exponents" in isoflop_profiles(one).text()


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


def test_arrows_join_a_baseline_and_its_treated_twin() -> None:
    frame = pd.DataFrame({"size": ["s", "m"] * 2, "seed": 0, "objective": ["plain"] * 2 + ["harmonized"] * 2,
                          "accuracy": [0.5, 0.6, 0.52, 0.61], "score": [0.3, 0.32, 0.36, 0.4]})  # fmt: skip
    arrows = treatment_arrows(ScalingTable.from_frame(frame), {"objective": "harmonized"}, {"objective": "plain"})
    assert {a.name: (a.baseline, a.treated) for a in arrows}["s 0"] == ((0.5, 0.3), (0.52, 0.36))


def test_arrows_over_seeds_are_means_with_t_intervals() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame([{"size": size, "seed": seed, "objective": objective, "images_per_class": None,
                           "accuracy": 0.5 + 0.01 * rng.normal(), "score": 0.3 + 0.1 * (objective == "b")}
                          for size in "sm" for seed in range(4) for objective in "ab"])  # fmt: skip
    lonely = frame[~((frame["seed"] == 3) & (frame["objective"] == "b"))]  # seed 3 has no twin
    arrows = treatment_arrows(ScalingTable.from_frame(lonely), {"objective": "b"}, {"objective": "a"}, over="seed")
    assert [(arrow.name, arrow.n) for arrow in arrows] == [("m", 3), ("s", 3)]
    paired = frame[(frame["size"] == "s") & (frame["objective"] == "a") & (frame["seed"] < 3)]["accuracy"]
    assert arrows[1].baseline_interval is not None
    found = arrows[1].baseline_interval[0]
    expected = stats.t.interval(0.95, 2, paired.mean(), stats.sem(paired))
    assert (found.low, found.high) == pytest.approx(expected)
    assert arrows[1].treated == pytest.approx((found.value, 0.4), abs=0.03)
    one = treatment_arrows(
        ScalingTable.from_frame(frame[frame["seed"] == 0]), {"objective": "b"}, {"objective": "a"}, over="seed"
    )
    assert [(arrow.n, arrow.treated_interval) for arrow in one] == [(1, None)] * 2
    with pytest.raises(ValueError, match="over='flops' is not one of several columns"):
        treatment_arrows(ScalingTable.from_frame(frame), {"objective": "b"}, {"objective": "a"}, over="flops")
