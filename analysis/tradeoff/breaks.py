"""A continuous line of two slopes through score against accuracy: where alignment turns, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.fit.estimate import Estimate, estimate
from analysis.fit.resample import bootstrap_weights
from analysis.table import ScalingTable
from analysis.tradeoff.correlation import cluster_codes

BREAK_GRID = 80
LEAST_EACH_SIDE = 8
BREAK_FLOOR = 0.2  # assumption: accuracy above which a turn is looked for


@dataclass(frozen=True)
class Break:
    """A continuous line of two slopes: where it breaks, the slopes per unit of accuracy, the score at the break.

    start: accuracy from which models counted.
    """

    at: Estimate
    slope_below: Estimate
    slope_above: Estimate
    level: float
    start: float = BREAK_FLOOR

    @property
    def turns(self) -> bool:
        """Whether alignment falls with accuracy beyond the break, the whole interval below zero."""
        return self.slope_above.high is not None and self.slope_above.high < 0


def fit_break(table: ScalingTable, bootstrap: int = 1000, seed: int = 0, cluster: bool = True) -> Break | None:
    """Least squares of score = a + b x + c max(x - t, 0) over a grid of t (Muggeo 2003), intervals by bootstrap.

    Only models above BREAK_FLOOR count: below it alignment rises steeply from chance, and that knee would be the
    break found. Slopes are per unit of accuracy. None with fewer than LEAST_EACH_SIDE models on either side of every t.
    """
    table = table.where(table.values("accuracy") > BREAK_FLOOR)
    x, y = table.values("accuracy"), table.values("score")
    if len(x) < 2 * LEAST_EACH_SIDE + 2:
        return None
    ordered = np.sort(x)
    grid = np.unique(np.linspace(ordered[LEAST_EACH_SIDE], ordered[-LEAST_EACH_SIDE - 1], BREAK_GRID))
    clusters = cluster_codes(table, cluster)
    weights = bootstrap_weights(clusters, np.zeros_like(clusters), bootstrap, seed)
    at, below, above, level = _segments(x, y, np.concatenate([np.ones((1, len(x))), weights]), grid)
    position, first, second = (estimate(float(v[0]), v[1:], 0.95) for v in (at, below, above))
    return Break(position, first, second, level=float(level[0]), start=float(x.min()))


def _segments(x: Array, y: Array, weights: Array, grid: Array) -> tuple[Array, Array, Array, Array]:
    """Best break, slopes and level at the break of each weighting (B,): normal equations at grid points."""
    best = np.full(len(weights), np.inf)
    at, below, above, level = (np.full(len(weights), np.nan) for _ in range(4))
    for t in grid:
        coefficients, left = _explained(np.column_stack([np.ones_like(x), x, np.maximum(x - t, 0)]), y, weights)
        better = left < best
        best = np.where(better, left, best)
        at = np.where(better, t, at)
        below = np.where(better, coefficients[:, 1], below)
        above = np.where(better, coefficients[:, 1] + coefficients[:, 2], above)
        level = np.where(better, coefficients[:, 0] + coefficients[:, 1] * t, level)
    return at, below, above, level


def _explained(X: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Coefficients (B, k) and weighted sum of squares left (B,) of least squares."""
    k = X.shape[1]
    H = (weights @ (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)).reshape(-1, k, k)
    H = H + 1e-12 * np.eye(k) * np.trace(H, axis1=1, axis2=2)[:, None, None]
    g = weights @ (X * y[:, None])
    coefficients = np.linalg.solve(H, g[..., None])[..., 0]
    return coefficients, weights @ y**2 - np.einsum("bk,bk->b", coefficients, g)
