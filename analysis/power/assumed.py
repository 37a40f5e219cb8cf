"""The law and the noise that a plan assumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.columns import Array


@dataclass(frozen=True)
class AssumedLaw:
    """y = E + A·(N/n_ref)^-alpha + B·(D/d_ref)^-beta, and how measurements lie about it.

    noise: standard deviation of ln y of a run among the seeds of its configuration; scatter: of configurations about
    the law, which no seed averages away; source: where all that comes from, in words.
    """

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    n_ref: float
    d_ref: float
    noise: float
    scatter: float
    source: str

    def mean(self, n_params: Array, samples_seen: Array) -> Array:
        """y without noise."""
        of_size = self.A * (n_params / self.n_ref) ** -self.alpha
        return np.asarray(self.E + of_size + self.B * (samples_seen / self.d_ref) ** -self.beta)

    def sigma(self, seeds: int) -> float:
        """Standard deviation of ln y of a configuration's mean over its seeds."""
        return float(np.hypot(self.scatter, self.noise / np.sqrt(seeds)))
