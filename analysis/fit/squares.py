"""The law fitted by squares to configuration means: what F tests and t intervals are taken from.

The Huber fit of single rows is what a law reports; how sure it is follows from here, since rows of one configuration
share what the law does not say of it. With G configurations and p parameters, s^2 = RSS / (G - p).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.columns import Array
from analysis.fit.cells import Cells
from analysis.fit.multistart import Task

# A law misfits where its residuals bend with p below the first, a share of their squares, and of the law's change
BEND_P, BEND_SHARE, BEND_SIZE = 0.01, 0.5, 0.05


@dataclass(frozen=True)
class SquaresFit:
    """task: over the cells, squares; weight: (n,) of each cell; theta: (p,) its minimum; dof: G - p."""

    task: Task
    weight: Array
    theta: Array
    dof: int

    @cached_property
    def residual(self) -> Array:
        """ln(prediction) - ln(y) of each cell (n,)."""
        return np.asarray(np.log(self.task.design.predict(self.theta[None])[0]) - self.task.log_y)

    @property
    def rss(self) -> float:
        return self.rss_of(self.theta)

    def rss_of(self, theta: Array) -> float:
        """Weighted sum of squared residuals at other parameters."""
        r = np.log(self.task.design.predict(theta[None])[0]) - self.task.log_y
        return float(self.weight @ r**2)

    def f_ratio(self, theta: Array) -> float:
        """F of one parameter held elsewhere: (RSS(theta) - RSS) / s^2, on 1 and `dof` degrees of freedom."""
        return (self.rss_of(theta) - self.rss) / (self.rss / self.dof + 1e-300)

    @cached_property
    def jacobian(self) -> Array:
        """d ln(prediction) / d theta of each cell (n, p); 0 for a parameter that rests on its limit."""
        _, blocks = self.task.design.evaluate(self.theta[None])
        out = np.zeros((len(self.task.log_y), len(self.theta)))
        for block in blocks:
            features = block.features if block.features.ndim == 2 else block.features[0]
            out[:, block.where] = block.share[0][:, None] * features
        at_limit = (self.theta <= self.task.lower) | (self.theta >= self.task.upper)
        return np.where(at_limit, 0.0, out)


def fit_squares(task: Task, start: Array, cells: Cells) -> SquaresFit:
    """The squares fit of the cells nearest to the optima `start` (S, p) of a Huber fit."""
    design = task.design.over([np.exp(x) for x in cells.log_x.T], cells.group)
    own = Task(design, cells.log_y, np.inf, task.lower, task.upper)
    weight = cells.weight * cells.precision
    found = own.solve(start, weight[None], np.zeros(len(start), dtype=np.int64))
    best = found.theta[np.argmin(found.loss)]
    return SquaresFit(own, weight, best, cells.n_configurations - design.n_params)


@dataclass(frozen=True)
class Bend:
    """How residuals bend along an axis: p of F, its share of their squares, and its size beside the law's change."""

    axis: int
    p: float
    share: float
    size: float

    @property
    def shows(self) -> bool:
        return self.p < BEND_P and self.share >= BEND_SHARE and self.size >= BEND_SIZE


def bends(fit: SquaresFit) -> tuple[Bend, ...]:
    """The curvature that the law leaves over along each axis.

    u^2 (u: ln x over its measured range) beyond what the law's own parameters could take up (its tangent space):
    F = SS / ((RSS - SS) / (dof - 1)).
    """
    from scipy.special import fdtrc

    design, root = fit.task.design, np.sqrt(fit.weight)
    if fit.dof < 2:
        return ()
    tangent = _span(root[:, None] * fit.jacobian)
    r, change = root * fit.residual, float(np.ptp(np.log(design.predict(fit.theta[None])[0])))
    found = []
    for axis, x in enumerate(design.X):
        u = np.log(x / x.min()) / (np.log(x.max() / x.min()) or 1.0)
        q = root * u**2
        q = q - tangent @ (tangent.T @ q)
        norm = float(q @ q)
        if norm < 1e-12:
            continue
        coefficient = float(q @ r) / norm
        ss, rss = coefficient**2 * norm, float(r @ r)
        f = ss / (max(rss - ss, 1e-300) / (fit.dof - 1))
        size = abs(coefficient) * float(np.ptp(q / root)) / (change + 1e-300)
        found.append(Bend(axis, float(fdtrc(1, fit.dof - 1, f)), ss / (rss + 1e-300), size))
    return tuple(found)


def _span(columns: Array) -> Array:
    """An orthonormal basis (n, r) of the columns' span."""
    scale = np.linalg.norm(columns, axis=0)
    basis, size, _ = np.linalg.svd(columns / np.where(scale > 0, scale, 1.0), full_matrices=False)
    return np.asarray(basis[:, size > 1e-8 * max(size.max(initial=0.0), 1e-300)])
