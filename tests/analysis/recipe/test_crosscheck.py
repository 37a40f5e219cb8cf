"""Cross-checks of the split that assume no law: isoFLOP profiles and the envelope of compute."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable, compute_envelope, isoflop_profiles

Plant = Callable[..., ScalingTable]


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
