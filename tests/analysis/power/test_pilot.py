"""A pilot's law and noise: planted ones are found again, and what a pilot cannot tell has a reason."""

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable
from analysis.power.assumed import AssumedLaw
from analysis.power.pilot import HIGHEST, LOWEST, pilot_law, pilot_laws


def _rows(sizes: int = 5, data: int = 6, seeds: int = 3, noise: float = 0.02, scatter: float = 0.01) -> ScalingTable:
    rng = np.random.default_rng(0)
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e7, sizes), np.geomspace(1e4, 1e7, data)))
    log_y = np.log(0.3 + 0.2 * (N / 1e5) ** -0.5 + 0.3 * (D / 1e4) ** -0.4) + rng.normal(0, scatter, len(N))
    frames = [
        pd.DataFrame({"family": "resnet", "n_params": N, "samples_seen": D, "flops": 6 * N * D, "seed": s,
                      "score": 1 - np.exp(log_y + rng.normal(0, noise, len(N)))})
        for s in range(seeds)
    ]  # fmt: skip
    return ScalingTable.from_frame(pd.concat(frames))


def test_a_planted_law_and_its_noise_are_found() -> None:
    law = pilot_law(_rows(), "pilot")
    assert isinstance(law, AssumedLaw)
    assert law.source == "pilot, its law (ok)"
    assert (law.n_ref, law.d_ref) == pytest.approx((1e5, 1e4))
    assert law.noise == pytest.approx(0.02, rel=0.2)
    assert law.scatter == pytest.approx(0.01, rel=0.6)
    assert pytest.approx((0.3, 0.2, 0.3), rel=0.15) == (law.E, law.A, law.B)
    N, D = np.array([1e5, 1e7, 1e6]), np.array([1e4, 1e7, 1e5])
    assert law.mean(N, D) == pytest.approx(0.3 + 0.2 * (N / 1e5) ** -0.5 + 0.3 * (D / 1e4) ** -0.4, rel=0.03)


def test_without_a_second_seed_the_variance_is_shared_and_said_to_be() -> None:
    law = pilot_law(_rows(seeds=1, noise=0.04, scatter=0.03), "pilot")
    assert isinstance(law, AssumedLaw)
    assert law.noise == law.scatter
    assert law.sigma(1) == pytest.approx(0.05, rel=0.3)
    assert law.source.endswith("no second seed")


def test_where_the_form_is_not_usable_exponents_are_held() -> None:
    law = pilot_law(_rows(sizes=2, data=4, seeds=2, noise=0.3), "pilot")
    assert isinstance(law, AssumedLaw)
    assert "exponents held within" in law.source
    assert min(law.alpha, law.beta) >= LOWEST - 1e-9
    assert max(law.alpha, law.beta) <= HIGHEST + 1e-9


def test_what_a_pilot_cannot_tell_has_a_reason() -> None:
    assert pilot_law(_rows(sizes=2, data=3), "pilot") == "6 configurations; a law needs 7 at least"
    rows = _rows()
    single = rows.where(rows.values("n_params") == rows.values("n_params").min())
    assert "n_params has one distinct value" in str(pilot_law(single, "pilot"))


def test_each_region_and_family_has_its_own() -> None:
    assert set(pilot_laws({"IT": _rows(), "V1": _rows()}, "pilot")) == {("IT", "resnet"), ("V1", "resnet")}
