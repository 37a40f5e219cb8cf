"""Extrapolation and families: which form predicts the dearer runs, which family is best where."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable, compare_families, compare_forms

Plant = Callable[..., ScalingTable]


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
