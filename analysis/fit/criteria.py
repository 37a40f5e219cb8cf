"""Akaike's criterion of a law, by which forms are told beside their extrapolation."""

from __future__ import annotations

import numpy as np

from analysis.columns import Array


def aicc_of(r: Array, delta: float, n: int, n_params: int) -> float:
    """Corrected Akaike criterion of residuals r, counting n independent configurations and the scale.

    -2 ln L with the scale profiled out: Laplace where delta is below the residuals, else normal.
    """
    if delta < np.median(np.abs(r)):
        fit = 2 * n * float(np.log(np.mean(np.abs(r)) + 1e-300))
    else:
        fit = n * float(np.log(np.mean(r**2) + 1e-300))
    k = n_params + 1
    return fit + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 1)
