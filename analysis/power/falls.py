"""The chance that `find_trend` says "falls" of a planned grid.

The regression's coefficients are normal about those of the noise-free means, and independent of its residual squares,
which are noncentral where the law is curved: RSS / sigma^2 ~ chi2'(G - k - 1, |residual of the means|^2 / sigma^2). So
each t of the test is doubly noncentral (Johnson, Kotz & Balakrishnan 1995, ch. 31). y is said to fall where the total
does, or one axis (Bonferroni): a chance given RSS, averaged over RSS. That an axis rises meanwhile is neglected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.fit.trend import LEVEL, t_quantile
from analysis.power.grid import Grid

RSS_NODES, AXIS_NODES = 48, 400
LEAST_CURVATURE = 1e-9  # of a noncentrality: below it the central law is the same
REACH = 8.0  # standard deviations of an axis's estimate that are integrated over


@dataclass(frozen=True)
class Regression:
    """Of noise-free ln y: coefficients (k,), inverse Gram matrix (k + 1, k + 1), which of the k the grid can tell."""

    value: Array
    inverse: Array
    told: Array
    rss: float
    dof: int


def chance_falls(grid: Grid, log_y: Array, sigma: float) -> float:
    """The chance that y is said to fall. log_y: (G,) of the assumed law; sigma: of a configuration's mean ln y."""
    found = regress(grid, log_y)
    if found is None:
        return 0.0
    s = sigma * np.sqrt(rss_nodes(found.dof, found.rss / sigma**2) / found.dof)
    k = len(found.value)
    t_total, t_axis = t_quantile(LEVEL, found.dof), t_quantile(1 - (1 - LEVEL) / k, found.dof)
    if found.told.all():
        return float(np.mean(_total_or_axis(found, s, sigma, t_total, t_axis)))
    alone = np.flatnonzero(found.told)
    chances = [_below(found.value[i], found.inverse[i + 1, i + 1], s, sigma, t_axis) for i in alone]
    return float(np.mean(chances[0])) if chances else 0.0


def regress(grid: Grid, log_y: Array) -> Regression | None:
    """`find_trend`'s regression of noise-free means on N and D; None where it has no degree of freedom."""
    log_x = np.log(np.column_stack([grid.n_params, grid.samples_seen]))
    span = np.ptp(log_x, axis=0)
    u = (log_x - log_x.min(axis=0)) / np.where(span > 0, span, 1.0)
    X = np.column_stack([np.ones(len(u)), u])
    dof = len(X) - X.shape[1]
    if dof < 1:
        return None
    inverse = np.linalg.pinv(X.T @ X, rcond=1e-10, hermitian=True)
    beta = inverse @ (X.T @ log_y)
    known = X.T @ X @ inverse
    told = np.array([np.allclose(known[i + 1], np.eye(len(beta))[i + 1], atol=1e-6) for i in range(u.shape[1])])
    return Regression(beta[1:], inverse, told, float(np.sum((log_y - X @ beta) ** 2)), dof)


def rss_nodes(dof: int, noncentrality: float) -> Array:
    """Equally likely values of RSS / sigma^2: its quantiles at the middles of RSS_NODES equal shares."""
    from scipy.special import chdtri, chndtrix

    share = (np.arange(RSS_NODES) + 0.5) / RSS_NODES
    if noncentrality < LEAST_CURVATURE:
        return np.asarray(chdtri(dof, 1 - share))
    return np.asarray(chndtrix(share, dof, noncentrality))


def _below(value: float, unit: float, s: Array, sigma: float, t: float) -> Array:
    """The chance, at each s, that one estimate + t s sqrt(unit) < 0."""
    from scipy.special import ndtr

    return np.asarray(ndtr((-value - t * s * np.sqrt(unit)) / (sigma * np.sqrt(unit))))


def _total_or_axis(found: Regression, s: Array, sigma: float, t_total: float, t_axis: float) -> Array:
    """The chance, at each s, that b1 + b2 or b1 or b2 lies below minus its t times its standard error.

    1 - the chance that none does: b1 integrated over, b2 normal given b1.
    """
    from scipy.special import ndtr

    cov = sigma**2 * found.inverse[1:, 1:]
    sd, total_unit = np.sqrt(np.diag(cov)), found.inverse[1:, 1:].sum()
    z = (np.arange(AXIS_NODES) + 0.5) / AXIS_NODES * 2 * REACH - REACH
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) * (2 * REACH / AXIS_NODES)
    b1 = found.value[0] + sd[0] * z
    middle = found.value[1] + cov[0, 1] / sd[0] * z
    rest = np.sqrt(max(cov[1, 1] - cov[0, 1] ** 2 / cov[0, 0], 1e-300))
    limits = -s[:, None] * np.array([t_axis * sd[0], t_axis * sd[1], t_total * sigma * np.sqrt(total_unit)]) / sigma
    least = np.maximum(limits[:, [1]], limits[:, [2]] - b1)
    none = np.where(b1 >= limits[:, [0]], ndtr((middle - least) / rest), 0.0)
    return np.asarray(1 - none @ density)
