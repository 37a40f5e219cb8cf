"""The law of rates: log lr* = a + b log N + c log D, by weighted least squares over cells, slopes shrunk by a prior.

A cell weighs w = 1 / (e^2 + m^2), e the standard error of its best log rate, m the cells' median: one cell's error is
known by few trials, so that none counts more than twice one at the median. Few cheap cells with little leverage would
extrapolate their noise, so each slope has a normal prior of mean 0 and standard deviation SLOPE:

    (X' W X / s^2 + P) beta = X' W y / s^2,    P = diag(0, 1 / SLOPE^2, 1 / SLOPE^2)

With s^2 = sum w r^2 / f on f = n - tr H degrees of freedom (H: the hat matrix); or, where that is less than mean w e^2,
which the cells' own errors give (few cells may agree by chance, or because rates were tried on a grid), that on n more.
Intervals are t intervals: of coefficients, and of what a search of one cell would find, s^2 / median w + x' C x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from analysis.columns import Array
from analysis.fit.trend import LEVEL, t_quantile

AXES = ("n_params", "samples_seen")
# Assumption: published slopes lie within about two of it, such as -0.71 of N and 0.31 of D (Li et al. 2025, step law),
# or -0.32 of D (Bjorck et al. 2024).
SLOPE = 0.3
TINY, LEAST_FREE = 1e-12, 0.01  # s^2, and degrees of freedom below which there are none
ROUNDS = 30  # of s^2 and the shrinkage, which depend on each other
LETTERS = {"n_params": "N", "samples_seen": "D"}


@dataclass(frozen=True)
class RatePoint:
    """A cell's best rate: logarithms of N, D and the rate, and the rate's standard error (None: unknown)."""

    log_n: float
    log_d: float
    log_rate: float
    error: float | None = None


class RateLaw(BaseModel):
    """log rate = intercept + sum slopes[axis] (log axis - centre[axis]); axes: those that the cells identify.

    covariance: of (intercept, slopes), with its scale; scatter: standard deviation of one cell's best log rate about
    the law; dof: degrees of freedom, 0 where nothing tells the scale, so that there are no intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    axes: tuple[str, ...]
    centre: tuple[float, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    scatter: float
    dof: float
    n_cells: int

    def predict(self, n_params: float, samples_seen: float) -> tuple[float, tuple[float, float] | None]:
        """The rate of a cell, and the interval of one cell's best rate."""
        x = self._row(n_params, samples_seen)
        at = float(x @ np.array(self.coefficients))
        if not self.dof:
            return math.exp(at), None
        variance = self.scatter**2 + float(x @ np.array(self.covariance) @ x)
        reach = t_quantile(LEVEL, self.dof) * math.sqrt(variance)
        return math.exp(at), (math.exp(at - reach), math.exp(at + reach))

    def slope(self, axis: str) -> tuple[float, tuple[float, float] | None] | None:
        """An exponent and its interval; None where the cells do not tell it."""
        if axis not in self.axes:
            return None
        i = self.axes.index(axis) + 1
        value = self.coefficients[i]
        if not self.dof:
            return value, None
        reach = t_quantile(LEVEL, self.dof) * math.sqrt(self.covariance[i][i])
        return value, (value - reach, value + reach)

    def _row(self, n_params: float, samples_seen: float) -> Array:
        logs = {"n_params": math.log(n_params), "samples_seen": math.log(samples_seen)}
        return np.array([1.0, *(logs[axis] - c for axis, c in zip(self.axes, self.centre, strict=True))])

    def text(self) -> str:
        """'lr* ~ N^-0.21 [-0.40, -0.02] D^-0.10 [-0.30, 0.10] (6 cells)'."""
        parts = []
        for axis in self.axes:
            value, interval = self.slope(axis) or (0.0, None)
            between = "" if interval is None else " [{:+.2f}, {:+.2f}]".format(*interval)
            parts.append(f"{LETTERS[axis]}^{value:+.2f}{between}")
        said = " ".join(parts) or "one rate"
        missing = [LETTERS[axis] for axis in AXES if axis not in self.axes]
        lost = f"; its cells do not tell the part of {' and '.join(missing)}" if missing else ""
        unsure = "" if self.dof else "; no cell is left to tell how sure that is"
        return f"lr* ~ {said} ({self.n_cells} cell{'s' if self.n_cells != 1 else ''}{lost}{unsure})"


def fit_rate_law(points: Sequence[RatePoint]) -> RateLaw:
    """The law over cells, with as many slopes as they identify: one needs two values of its axis, both a third cell
    off their line.

    Raises:
        ValueError: no cell.
    """
    if not points:
        raise ValueError("no cell's best rate lies inside the range that was tried; widen the range of lr")
    logs = {"n_params": [p.log_n for p in points], "samples_seen": [p.log_d for p in points]}
    axes = _identified({axis: np.array(values) for axis, values in logs.items()})
    centre = tuple(float(np.mean(logs[axis])) for axis in axes)
    columns = [np.array(logs[axis]) - c for axis, c in zip(axes, centre, strict=True)]
    X = np.column_stack([np.ones(len(points)), *columns])
    y, weight = np.array([p.log_rate for p in points]), _weights(points)
    beta, covariance, s2, dof = _shrunk(X, y, weight, points)
    return RateLaw(
        axes=axes, centre=centre, coefficients=tuple(map(float, beta)),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        scatter=math.sqrt(s2 / float(np.median(weight))), dof=dof, n_cells=len(points),
    )  # fmt: skip


def _shrunk(X: Array, y: Array, weight: Array, points: Sequence[RatePoint]) -> tuple[Array, Array, float, float]:
    """Coefficients, their covariance, s^2 and its degrees of freedom, which are 0 where nothing tells s^2."""
    errors = [(w, p.error) for w, p in zip(weight, points, strict=True) if p.error is not None]
    known = float(np.mean([w * e * e for w, e in errors])) if errors else 0.0
    prior = np.diag([0.0, *[1 / SLOPE**2] * (X.shape[1] - 1)])
    gram, s2 = X.T @ (weight[:, None] * X), max(known, TINY)
    for _ in range(ROUNDS):
        covariance = np.asarray(np.linalg.inv(gram / s2 + prior), dtype=np.float64)
        beta = covariance @ (X.T @ (weight * y)) / s2
        free = len(y) - float(np.trace(covariance @ gram)) / s2
        own = float(weight @ (y - X @ beta) ** 2) / free if free > LEAST_FREE else 0.0
        s2 = max(own, known, TINY)
    if own >= known:
        return beta, covariance, s2, free if free > LEAST_FREE else 0.0
    return beta, covariance, s2, free + len(errors)


def _identified(logs: dict[str, Array]) -> tuple[str, ...]:
    """The axes whose slopes the cells tell, N before D."""
    found: list[str] = []
    X = np.ones((len(next(iter(logs.values()))), 1))
    for axis, values in logs.items():
        wider = np.column_stack([X, values - values.mean()])
        if np.linalg.matrix_rank(wider, tol=1e-6 * max(1.0, float(np.abs(wider).max()))) == wider.shape[1]:
            found, X = [*found, axis], wider
    return tuple(found)


def _weights(points: Sequence[RatePoint]) -> Array:
    """Of each cell; alike where no error is known, the median in place of one that is not."""
    errors = [p.error for p in points if p.error is not None]
    if not errors or not (middle := float(np.median(errors))):
        return np.ones(len(points))
    own = np.array([middle if p.error is None else p.error for p in points])
    return np.asarray(1 / (own**2 + middle**2))
