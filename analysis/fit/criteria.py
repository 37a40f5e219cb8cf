"""Likelihood scales of a fit: Akaike's criterion of the law and of a constant, and the ratio of a held parameter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.multistart import Task

DENSITY = 1.27  # 4 f(0) mean|r| for normal residuals: likelihood ratio of least absolute values (Koenker 2005, 3.5)


def _residuals(task: Task, theta: Array) -> Array:
    return np.log(task.design.predict(theta[None])[0]) - task.log_y


def _log_likelihood_scale(r: Array, delta: float, n: int) -> float:
    """-2 ln L up to a constant, scale profiled out: Laplace where delta is below the residuals, else normal."""
    if delta < np.median(np.abs(r)):
        return 2 * n * float(np.log(np.mean(np.abs(r)) + 1e-300))
    return n * float(np.log(np.mean(r**2) + 1e-300))


def aicc(r: Array, delta: float, n: int, n_params: int) -> float:
    """Corrected Akaike criterion of residuals r, counting n independent configurations and the scale."""
    k = n_params + 1
    return _log_likelihood_scale(r, delta, n) + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 1)


def criteria(task: Task, best: Array, clusters: npt.NDArray[np.int64]) -> dict[str, float]:
    n = int(clusters.max()) + 1
    constant = _constant_residuals(task)
    r = _residuals(task, best)
    delta = task.delta if task.delta < np.median(np.abs(constant)) else np.inf
    return {
        "aicc": aicc(r, delta, n, task.design.n_params),
        "aicc_constant": aicc(constant, delta, n, task.design.n_groups),
    }


def _constant_residuals(task: Task) -> Array:
    """Residuals of the best constant (per group): the median of ln y, or its mean for squares."""
    centre = np.mean if np.isinf(task.delta) else np.median
    r = np.empty_like(task.log_y)
    for hot in task.design.one_hot.T:
        r[hot > 0] = centre(task.log_y[hot > 0]) - task.log_y[hot > 0]
    return r


def likelihood_ratio(task: Task, best: Array, held: Array) -> float:
    """Likelihood-ratio statistic of a held parameter against the best fit."""
    r0, r1 = _residuals(task, best), _residuals(task, held)
    if task.delta < np.median(np.abs(r0)):
        return DENSITY * float((np.abs(r1).sum() - np.abs(r0).sum()) / (np.mean(np.abs(r0)) + 1e-300))
    return float((np.sum(r1**2) - np.sum(r0**2)) / (np.mean(r0**2) + 1e-300))
