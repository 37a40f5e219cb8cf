"""What a fit says about itself: each status on data made to deserve it, none without a reason."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable, fit_law

Plant = Callable[..., ScalingTable]


def _table(flops: np.ndarray, score: np.ndarray) -> ScalingTable:
    return ScalingTable.from_frame(pd.DataFrame({"flops": flops, "score": score}))


@pytest.mark.parametrize(("form", "axes"), [("power_law", ("flops",)), ("chinchilla", ("n_params", "samples_seen"))])
def test_a_planted_law_is_ok(plant: Plant, form: str, axes: tuple[str, ...]) -> None:
    law = fit_law(plant(form, n=10, noise=0.01), form, axes, bootstrap=0)
    assert (law.status, law.reason) == ("ok", "")
    assert law.usable


def test_four_points_are_too_few() -> None:
    law = fit_law(_table(np.geomspace(1e14, 1e17, 4), np.array([0.1, 0.2, 0.25, 0.28])), bootstrap=100)
    assert law.status == "too few points"
    assert "4 configurations; power_law has 3 parameters and needs 5 at least" in law.reason
    assert np.isnan(law.estimate).all()
    assert not law.usable


def test_two_sizes_are_too_few_for_an_exponent_in_size(plant: Plant) -> None:
    rows = plant("chinchilla", n=8)
    two = rows.where(np.isin(rows.values("n_params"), np.unique(rows.values("n_params"))[:2]))
    law = fit_law(two, "chinchilla", ("n_params", "samples_seen"), bootstrap=0)
    assert law.status == "too few points"
    assert "2 distinct x for term 1" in law.reason


@pytest.mark.parametrize("n", [20, 60])
def test_pure_noise_gets_no_numbers(n: int) -> None:
    """At most 1 in 25 tables of pure noise passes for a trend downwards, none for a known form (seeded)."""
    said = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        law = fit_law(_table(np.geomspace(1e14, 1e19, n), 1 - 0.6 * np.exp(rng.normal(0, 0.1, n))), bootstrap=0)
        said.append(law.trends[""].direction)
        assert not law.usable
        assert "no scaling" not in law.text()
    assert said.count("falls") <= 1


def test_exponential_data_have_no_shifted_power_law() -> None:
    """An exponential is the limit of infinite shift and exponent: A = 1e90 in the published shifted fits."""
    x = np.geomspace(1e13, 1e17, 60)
    rng = np.random.default_rng(0)
    law = fit_law(_table(x, 1 - (0.5 + 0.3 * np.exp(-x / 2e16)) * np.exp(rng.normal(0, 0.005, 60))),
                  "shifted_power_law", bootstrap=0)  # fmt: skip
    assert law.status == "not identified"
    assert "alpha has no upper limit" in law.reason
    assert not law.usable


def test_a_curve_without_bend_leaves_the_offset_open() -> None:
    x = np.geomspace(1e16, 1e17, 40)
    rng = np.random.default_rng(0)
    law = fit_law(_table(x, 1 - (0.2 + 0.5 * (x / 1e16) ** -0.1) * np.exp(rng.normal(0, 0.02, 40))), bootstrap=0)
    assert law.status in ("weakly identified", "not identified")
    assert {"E", "alpha"} <= set(law.verdict.weak)


def test_an_axis_without_effect_is_not_identified() -> None:
    rng = np.random.default_rng(1)
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e8, 8), np.geomspace(1e4, 1e8, 8)))
    frame = pd.DataFrame(
        {"n_params": N, "samples_seen": D, "score": 1 - (0.4 + 5 * D**-0.3) * np.exp(rng.normal(0, 0.01, 64))}
    )
    law = fit_law(ScalingTable.from_frame(frame), "chinchilla", ("n_params", "samples_seen"), bootstrap=0)
    assert law.status == "not identified"
    assert "term 1 (A, alpha)" in law.reason


def test_the_constant_is_a_law_of_its_own(plant: Plant) -> None:
    law = fit_law(plant("constant", noise=0.05), "constant", bootstrap=50)
    assert law.status == "ok"
    assert law.params["E"] == pytest.approx(0.6, rel=0.02)
    assert law.interval("E")[0] < 0.6 < law.interval("E")[1]


def test_large_tables_fit_fast_and_right(plant: Plant) -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(np.log(1e14), np.log(1e20), 100_000))
    law = fit_law(_table(x, 1 - (0.35 + 0.45 * (x / 1e14) ** -0.18) * np.exp(rng.normal(0, 0.05, len(x)))), bootstrap=0)
    assert law.params["alpha"] == pytest.approx(0.18, abs=0.01)
    assert law.status == "ok"
