"""The chances against closed forms, against `find_trend` many times, and against whole fits of drawn tables."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import fdtri, ncfdtr, nctdtr, stdtrit

from analysis.fit.cells import cells_of
from analysis.fit.trend import find_trend
from analysis.power import usable
from analysis.power.assumed import AssumedLaw
from analysis.power.chances import chances
from analysis.power.falls import chance_falls
from analysis.power.grid import Grid

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from bench_power import draw_setting, observe


def _grid(n: int = 4, m: int = 5, seeds: int = 1, folds: tuple[float, float] = (16, 100)) -> Grid:
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e5 * folds[0], n), np.geomspace(1e4, 1e4 * folds[1], m)))
    return Grid(N, D, D, 6 * N * D, seeds)


def _law(**changes: float) -> AssumedLaw:
    values = {"E": 0.3, "A": 0.2, "alpha": 0.4, "B": 0.3, "beta": 0.3, "n_ref": 1e5, "d_ref": 1e4,
              "noise": 0.05, "scatter": 0.02}  # fmt: skip
    return AssumedLaw(**(values | changes), source="planted")


def test_one_axis_without_curvature_is_a_noncentral_t() -> None:
    """A single size: only the axis of D is told, at its Bonferroni level, on G - 3 degrees of freedom."""
    grid = _grid(n=1, m=12)
    u = np.linspace(0, 1, 12)
    log_y, sigma, dof = -0.1 * u, 0.05, 12 - 3
    noncentrality = -0.1 * np.sqrt(np.sum((u - u.mean()) ** 2)) / sigma
    exact = nctdtr(dof, noncentrality, -stdtrit(dof, 0.9875))
    assert chance_falls(grid, log_y, sigma) == pytest.approx(exact, abs=2e-3)


def test_what_does_not_fall_is_said_to_in_at_most_five_percent() -> None:
    grid = _grid()
    assert 0.02 < chance_falls(grid, np.zeros(len(grid)), 0.05) < 0.05


@pytest.mark.parametrize("law", [_law(E=0.75, A=0.02, B=0.03), _law(E=0.9, A=0.05, alpha=3.0, B=0.02)])
def test_falls_is_as_frequent_as_find_trend_says_it(law: AssumedLaw) -> None:
    """With curvature, too: the second law falls between the first two sizes alone."""
    grid = _grid(3, 4, seeds=2)
    log_y, own, zero = np.log(law.mean(grid.n_params, grid.samples_seen)), np.arange(12), np.zeros(12)
    rng, said = np.random.default_rng(0), 0
    for _ in range(2000):
        y = np.exp(log_y + rng.normal(0, law.sigma(2), 12))
        cells = cells_of([grid.n_params, grid.samples_seen], y, own, np.zeros_like(own), zero)
        said += find_trend(cells, ("n_params", "samples_seen")).direction == "falls"
    chance = chance_falls(grid, log_y, law.sigma(2))
    assert 0.1 < chance < 0.95
    assert said / 2000 == pytest.approx(chance, abs=3.5 * np.sqrt(chance * (1 - chance) / 2000))


def test_one_probe_is_a_noncentral_f() -> None:
    """Where the other term's probes always exceed their limit."""
    sigma, dof, noncentrality = 0.05, 9, 6.0
    weak, sure = np.zeros(14), np.zeros(14)
    weak[0], sure[1] = sigma * np.sqrt(noncentrality), 10.0
    exact = 1 - ncfdtr(1, dof, noncentrality, fdtri(1, dof, 0.95))
    assert usable._all_exceed([weak, sure], sigma, dof) == pytest.approx(exact, abs=3e-3)


def test_too_few_sizes_have_no_usable_form_and_a_reason() -> None:
    found = chances(_grid(n=2, m=5), _law())
    assert found.usable == 0
    assert "2 distinct x for term 1" in found.reason
    assert found.falls > 0.9


def test_three_configurations_can_find_nothing() -> None:
    found = chances(_grid(n=1, m=3), _law())
    assert (found.falls, found.usable) == (0.0, 0.0)


@pytest.mark.parametrize("change", [{"noise": 0.02}, {"scatter": 0.005}])
def test_less_noise_never_lowers_a_chance(change: dict[str, float]) -> None:
    noisy, quiet = chances(_grid(), _law()), chances(_grid(), _law(**change))
    assert quiet.usable >= noisy.usable
    assert quiet.falls >= noisy.falls


def test_chances_come_true() -> None:
    """Short and seeded; tests/benchmarks/bench_power.py prints the long table."""
    rng = np.random.default_rng(3)
    settings = [s for s in (draw_setting(rng) for _ in range(60)) if len(s.grid) < 17]
    stated = np.array([(c.falls, c.usable) for c in (chances(s.grid, s.law) for s in settings)])
    spread = np.argsort(stated[:, 1])[:: len(settings) // 6]
    observed = np.array([observe(settings[i], 10) for i in spread])
    for p, seen in zip(stated[spread].T, observed.T, strict=True):
        assert np.corrcoef(p, seen)[0, 1] > 0.95
        assert np.abs(p - seen).max() < 0.35
        assert abs(np.mean(p - seen)) < 0.08
