"""The law of rates: closed forms, what a design identifies, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.rates.law import SLOPE, RatePoint, fit_rate_law

CORNERS = [(0.0, 0.0), (0.0, 3.0), (4.0, 0.0), (4.0, 3.0)]
CELLS = [*CORNERS, (0.0, 6.0), (8.0, 0.0), (2.0, 2.0), (6.0, 1.0)]


def truth(log_n: float, log_d: float) -> float:
    return -2.0 - 0.3 * log_n + 0.1 * log_d


def points(cells: list[tuple[float, float]], noise: float = 0.0, error: float | None = None, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [RatePoint(n, d, truth(n, d) + noise * rng.standard_normal(), error) for n, d in cells]


def test_a_law_is_found_again_and_predicts_beyond_its_cells() -> None:
    law = fit_rate_law(points(CELLS))
    assert law.axes == ("n_params", "samples_seen")
    assert [law.slope(axis)[0] for axis in law.axes] == pytest.approx([-0.3, 0.1])
    assert law.predict(math.exp(10), math.exp(8))[0] == pytest.approx(math.exp(truth(10, 8)))


def test_it_is_the_mode_of_the_posterior_and_intervals_are_its_curvature() -> None:
    """Against a minimiser and its Hessian by differences, at the law's own s^2, which is that of its residuals."""
    from scipy.optimize import minimize
    from scipy.stats import t

    own = [RatePoint(p.log_n, p.log_d, p.log_rate, 0.05 * (i + 1)) for i, p in enumerate(points(CELLS, noise=0.8))]
    law = fit_rate_law(own)
    e, y = np.array([p.error for p in own]), np.array([p.log_rate for p in own])
    w = 1 / (e**2 + np.median(e) ** 2)
    log_x = np.array([[p.log_n, p.log_d] for p in own])
    X = np.column_stack([np.ones(8), log_x - log_x.mean(axis=0)])
    s2 = law.scatter**2 * np.median(w)

    def half_deviance(beta):
        return (w @ (y - X @ beta) ** 2 / s2 + (beta[1:] ** 2).sum() / SLOPE**2) / 2

    assert minimize(half_deviance, np.zeros(3), tol=1e-12).x == pytest.approx(law.coefficients, abs=1e-4)
    unit = 1e-3 * np.eye(3)
    hessian = [
        [
            (half_deviance(a + b) - half_deviance(a - b) - half_deviance(b - a) + half_deviance(-a - b)) / 4e-6
            for a in unit
        ]
        for b in unit
    ]
    assert np.linalg.inv(hessian) == pytest.approx(np.array(law.covariance), rel=1e-4, abs=1e-9)
    hat = np.array(law.covariance) @ (X.T @ (w[:, None] * X)) / s2
    residual = y - X @ law.coefficients
    assert law.dof == pytest.approx(8 - np.trace(hat))
    assert s2 == pytest.approx(w @ residual**2 / law.dof)
    value, (low, high) = law.predict(math.exp(5), math.exp(5))
    x = np.array([1.0, *(5 - log_x.mean(axis=0))])
    spread = t.ppf(0.975, law.dof) * math.sqrt(x @ np.array(law.covariance) @ x + law.scatter**2)
    assert math.log(value) == pytest.approx(x @ law.coefficients)
    assert math.log(high / low) / 2 == pytest.approx(spread)


def test_little_leverage_does_not_extrapolate_noise() -> None:
    """Four cells side by side, noisy: least squares would say N^1.2; the prior halves that at least."""
    own = [RatePoint(n, d, 0.8 * n + 0.5 * d, 0.3) for n in (0.0, 1.0) for d in (0.0, 1.0)]
    slope, (low, high) = fit_rate_law(own).slope("n_params")
    assert 0 < slope < 0.4
    assert low < -0.2 and high > 0.8  # noqa: PT018


@pytest.mark.parametrize(
    ("cells", "axes"),
    [
        ([(1.0, 2.0)], ()),
        ([(1.0, 2.0), (1.0, 4.0)], ("samples_seen",)),
        ([(1.0, 2.0), (3.0, 2.0)], ("n_params",)),
        ([(0.0, 0.0), (1.0, 2.0), (2.0, 4.0)], ("n_params",)),
        (CORNERS[:3], ("n_params", "samples_seen")),
    ],
)
def test_there_are_as_many_slopes_as_the_cells_tell(cells: list[tuple[float, float]], axes: tuple[str, ...]) -> None:
    law = fit_rate_law(points(cells))
    assert law.axes == axes
    assert law.slope("samples_seen") is None or "samples_seen" in axes
    assert ("its cells do not tell" in law.text()) == (len(axes) < 2)
    saturated = len(cells) == len(axes) + 1
    assert (law.predict(math.exp(1), math.exp(2))[1] is None) == saturated, "nothing tells how sure it is"


def test_cells_on_a_line_by_chance_are_no_surer_than_each_of_them() -> None:
    """Best rates taken off a grid may agree exactly; each is known to half a step only."""
    exact, known = fit_rate_law(points(CORNERS)), fit_rate_law(points(CORNERS, error=0.2))
    assert math.log(exact.predict(1e3, 1e3)[1][1] / exact.predict(1e3, 1e3)[1][0]) == pytest.approx(0, abs=1e-4)
    low, high = known.predict(math.exp(2), math.exp(1.5))[1]
    assert math.log(high / low) > 2 * 2 * 0.2


def test_no_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no cell's best rate lies inside .*widen the range"):
        fit_rate_law([])


@pytest.mark.parametrize(("scatter", "least"), [(0.0, 0.95), (0.2, 0.93), (0.5, 0.9)])
@pytest.mark.parametrize("n", [4, 6, 8])
def test_intervals_hold_what_a_search_of_another_cell_would_find(n: int, scatter: float, least: float) -> None:
    """Cells scatter about the law, beside the error of each search (.2, itself known by half); 4 cells to 8."""
    rng, hit, reps = np.random.default_rng(n), 0, 400
    for _ in range(reps):
        errors = 0.2 * np.exp(0.4 * rng.standard_normal(n))
        off = np.hypot(errors, scatter) * rng.standard_normal(n)
        own = [RatePoint(a, b, truth(a, b) + o, e) for (a, b), o, e in zip(CELLS[:n], off, errors, strict=True)]
        low, high = fit_rate_law(own).predict(math.exp(8), math.exp(6))[1]
        hit += math.log(low) <= truth(8, 6) + scatter * rng.standard_normal() <= math.log(high)
    assert hit / reps >= least - 0.03
