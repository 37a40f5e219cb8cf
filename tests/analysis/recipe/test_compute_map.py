"""The compute map where the rows cannot show it: what is missing, and what to do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis import ScalingTable, fit_compute_map

REMEDY = r"Recipe.from_law\(law, compute=ComputeMap\(kind='given', m=6, n=1, gamma=1\)\) is C = 6 N D"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"flops": np.nan}, "none of 64 rows has all of n_params, samples_seen, flops, .*'flops missing': 64"),
        ({"samples_seen": 0.0}, "none of 64 rows has all of .*'samples_seen is 0': 64"),
        ({"flops_per_image": np.nan}, "none of 64 rows has all of .*flops_per_image .*'flops_per_image missing': 64"),
    ],
)
def test_no_complete_row_is_no_single_size(
    plant: Callable[..., ScalingTable], columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"{message}.*fill in the columns, or give the map: {REMEDY}"):
        fit_compute_map(plant("chinchilla").with_columns(**columns))


@pytest.mark.parametrize("name", ["n_params", "samples_seen", "flops"])
def test_a_missing_column_is_named(plant: Callable[..., ScalingTable], name: str) -> None:
    bare = ScalingTable(plant("chinchilla").frame.drop(columns=name))
    with pytest.raises(ValueError, match=f"no column '{name}'; its columns: .*; add it, or give the map: {REMEDY}"):
        fit_compute_map(bare)


def test_incomplete_rows_are_left_out_of_the_map(plant: Callable[..., ScalingTable]) -> None:
    rows = plant("chinchilla")
    holes = rows.with_columns(flops=np.where(np.arange(64) % 3 == 0, np.nan, rows.values("flops")))
    assert fit_compute_map(holes).m == pytest.approx(fit_compute_map(rows).m)
