"""Laws are fitted once, and only what is the same question of the same rows is taken for the same."""

from collections.abc import Callable

import pytest

from analysis import ScalingTable
from analysis.fit.families import compare_families
from analysis.fit.once import Fits


def test_the_same_rows_and_question_are_fitted_once(plant: Callable[..., ScalingTable]) -> None:
    rows, fit = plant("power_law", noise=0.02), Fits(bootstrap=10)
    assert fit(rows) is fit(ScalingTable(rows.frame.copy(), rows.left_out))
    assert len(fit(rows).draws) == 10
    assert fit(rows, "chinchilla") is not fit(rows)
    assert fit(rows, bootstrap=0) is not fit(rows)
    assert fit(rows.with_columns(score=rows.values("score") + 1e-6)) is not fit(rows)
    assert fit(rows.where(rows.values("flops") > 0, "none")).rows.left_out == fit(rows).rows.left_out


def test_what_no_fit_can_be_made_of_is_refused_each_time(plant: Callable[..., ScalingTable]) -> None:
    fit = Fits(bootstrap=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="one distinct value"):
            fit(plant("power_law").with_columns(flops=1e9))


def test_a_comparison_keeps_the_laws_that_it_refuses(plant: Callable[..., ScalingTable]) -> None:
    rows = plant("power_law", noise=0.02)
    few = rows.with_columns(family=["few"] * 3 + ["many"] * (len(rows) - 3))
    found = compare_families(few, fit=Fits(bootstrap=5))
    assert set(found.laws) == {"many"}
    assert set(found.refused) == set(found.excluded) == {"few"}
    assert not found.refused["few"].usable
