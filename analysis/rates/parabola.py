"""The best rate of a cell, from the losses of trials beside it: a parabola of ln loss in ln rate.

With u = ln rate - ln rate of the best trial, ln L = a + b u + c u^2 by least squares over the finished trials within a
factor WINDOW of the best (three at least: the nearest ones). Minimum: u* = -b / 2c, its standard error by the delta
method from s^2 (X'X)^-1; s^2 from the residuals, or pooled over cells, as one cell leaves few degrees of freedom.
Mistuning by a factor of 2 costs c (ln 2)^2 of ln L, half the curvature 2c times (ln 2)^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from analysis.columns import Array
from analysis.fit.trend import LEVEL, t_quantile

WINDOW = 5.0  # factor of the best trial's rate: beyond it losses are no parabola any more (assumption)
NUMBERS = 3  # of a parabola
Place = Literal["inside", "low end", "high end"]


class Noise(NamedTuple):
    """Of one trial's ln loss about its parabola: standard deviation, degrees of freedom."""

    sd: float
    dof: int


@dataclass(frozen=True)
class Parabola:
    """log_rate: of the best rate, with its standard error (None: unknown); log_loss: there.

    place: the best trial lies inside the rates that were tried, or at an end of them, where the best rate may be beyond
    and is not known. curved: the parabola has a minimum next to the best trial; else log_rate is the best trial's, its
    error that of a uniform distribution over half of the way to its neighbours, and c is None.
    """

    log_rate: float
    error: float | None
    log_loss: float
    place: Place
    curved: bool
    c: float | None
    c_error: float | None
    noise: Noise | None
    n: int

    @property
    def usable(self) -> bool:
        return self.place == "inside"

    def rate_interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """t interval of the best rate; None where no error is known."""
        if self.error is None or not self.usable:
            return None
        reach = self.error * (t_quantile(level, self.noise.dof) if self.noise and self.curved else 2.0)
        return math.exp(self.log_rate - reach), math.exp(self.log_rate + reach)

    def cost(self, factor: float = 2.0) -> float | None:
        """The share of its loss that mistuning by a factor costs: exp(c (ln factor)^2) - 1."""
        return None if self.c is None else math.expm1(self.c * math.log(factor) ** 2)

    def cost_interval(self, factor: float = 2.0, level: float = LEVEL) -> tuple[float, float] | None:
        """t interval of `cost`."""
        if self.c is None or self.c_error is None or self.noise is None:
            return None
        reach = t_quantile(level, self.noise.dof) * self.c_error
        low, high = (math.expm1(c * math.log(factor) ** 2) for c in (self.c - reach, self.c + reach))
        return low, high

    def loss_at(self, log_rate: float) -> float:
        """The parabola's loss; where there is none, the best trial's."""
        return math.exp(self.log_loss + (self.c or 0.0) * (log_rate - self.log_rate) ** 2)


@dataclass(frozen=True)
class Squares:
    """A least-squares parabola about the best trial: coefficients (a, b, c), (X'X)^-1, RSS, degrees of freedom."""

    beta: Array
    inverse: Array
    rss: float
    dof: int


def fit_parabolas(cells: Sequence[tuple[Array, Array]]) -> list[Parabola]:
    """The parabolas of the cells of one family, with the noise pooled over all of them.

    Args:
        cells: (log_rate, log_loss) of each cell's trials; log_loss is nan for a trial that was cut, inf for one that
            diverged: they tell which rates were tried.

    Raises:
        ValueError: a cell without a finished trial.
    """
    windows = [_window(*cell) for cell in cells]
    fits = [_squares(*window) for window in windows]
    dof = sum(fit.dof for fit in fits if fit is not None)
    rss = sum(fit.rss for fit in fits if fit is not None)
    noise = Noise(math.sqrt(rss / dof), dof) if dof else None
    return [_parabola(*cell, fit, noise) for cell, fit in zip(cells, fits, strict=True)]


def _window(log_rate: Array, log_loss: Array) -> tuple[Array, Array]:
    """The finished trials that the parabola is of, about the best."""
    done = np.isfinite(log_loss)
    if not done.any():
        raise ValueError("no trial of the cell has a loss")
    x, y = log_rate[done], log_loss[done]
    u = x - x[np.argmin(y)]
    reach = max(math.log(WINDOW), np.sort(np.abs(u))[min(NUMBERS, len(u)) - 1])
    near = np.abs(u) <= reach * (1 + 1e-9)
    return u[near], y[near]


def _squares(u: Array, y: Array) -> Squares | None:
    """None where fewer than three rates leave no parabola."""
    if len(np.unique(u)) < NUMBERS:
        return None
    X = np.vander(u, NUMBERS, increasing=True)
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ (X.T @ y)
    return Squares(beta, np.asarray(inverse, dtype=np.float64), float(np.sum((y - X @ beta) ** 2)), len(u) - NUMBERS)


def _parabola(log_rate: Array, log_loss: Array, fit: Squares | None, noise: Noise | None) -> Parabola:
    done = np.isfinite(log_loss)
    best = int(np.argmin(np.where(done, log_loss, np.inf)))
    centre, tried = float(log_rate[best]), np.unique(log_rate)
    below, above = tried[tried < centre], tried[tried > centre]
    place: Place = "low end" if not len(below) else "high end" if not len(above) else "inside"
    low, high = (float(below[-1]) if len(below) else centre), (float(above[0]) if len(above) else centre)
    if place == "inside" and fit is not None and fit.beta[2] > 0:
        a, b, c = (float(value) for value in fit.beta)
        if low <= (at := centre - b / (2 * c)) <= high:
            gradient = np.array([0.0, -1 / (2 * c), b / (2 * c * c)])
            errors = [math.sqrt(g @ fit.inverse @ g) for g in (gradient, np.array([0.0, 0.0, 1.0]))]
            sd = None if noise is None else noise.sd
            error, c_error = (None if sd is None else sd * e for e in errors)
            n = fit.dof + NUMBERS
            return Parabola(at, error, a - b * b / (4 * c), place, True, c, c_error, noise, n)
    spread = (high - low) / 2 / math.sqrt(12) if place == "inside" else None
    return Parabola(centre, spread, float(log_loss[best]), place, False, None, None, noise, int(done.sum()))
