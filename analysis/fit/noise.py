"""Unequal noise: configurations weigh by what their scores' own errors say, beside the scatter that they all share.

Var(ln y_g) = tau^2 + s_g^2, with s_g the standard error that the records state and tau^2 the scatter of configurations
about a line in ln x, found where the weighted squares equal their degrees of freedom (Paule & Mandel 1982). Only ratios
of the weights are used: every interval takes its scale from the residuals (Knapp & Hartung 2003).
"""

from __future__ import annotations

import numpy as np

from analysis.columns import Array

ROUNDS = 60  # of bisection


def precisions(X: Array, log_y: Array, error: Array) -> Array:
    """Weights (G,), 1 on average, of configurations with regressors X (G, m); all 1 where an error is not known."""
    G, dof = len(log_y), len(log_y) - np.linalg.matrix_rank(X)
    if dof < 1 or not (error > 0).all() or np.ptp(error) <= 1e-9 * error.max():
        return np.ones(G)
    low, high = 0.0, float(np.ptp(log_y)) ** 2 + float(error.max()) ** 2
    if _squares(X, log_y, error**2) <= dof:
        high = 0.0
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        if _squares(X, log_y, middle + error**2) > dof:
            low = middle
        else:
            high = middle
    weights = 1 / (high + error**2)
    return np.asarray(weights / weights.mean())


def _squares(X: Array, y: Array, variance: Array) -> float:
    """Weighted squares of the residuals of a weighted regression."""
    root = 1 / np.sqrt(variance)
    r = root * y - (root[:, None] * X) @ np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0]
    return float(r @ r)
