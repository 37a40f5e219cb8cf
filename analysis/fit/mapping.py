"""The number of stimuli that a mapping is fitted on, beside compute: which of the two buys more alignment.

`L(C, n) = E + A·C^-alpha + B·n^-beta`, L = 1 − score: compute C of a model's training, n stimuli of its mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from analysis.columns import Array

MORE_STIMULI, MORE_COMPUTE = 100, 10.0  # what the sentence compares
N_BOOT = 200
_LIMITS = ([1e-6, 0.0, 0.0, 0.0, 0.0], [2.0, 50.0, 3.0, 50.0, 3.0])  # E, A, alpha, B, beta; x in units of its mean


@dataclass(frozen=True)
class MappingLaw:
    """The law, by draws: (n_draws, 5) of E, A, alpha, B, beta, the first of all rows; units of C and n.

    Without two values of compute A is 0 and alpha undefined: the law is that of the stimuli alone.
    """

    draws: Array
    units: tuple[float, float]
    largest: tuple[float, float]

    def predict(self, flops: float, stimuli: float) -> Array:
        """(n_draws,) misalignment."""
        e, a, alpha, b, beta = self.draws.T
        c, n = flops / self.units[0], stimuli / self.units[1]
        return np.asarray(e + a * c**-alpha + b * n**-beta)

    def gains(self) -> tuple[Array, Array]:
        """What `MORE_STIMULI` and `MORE_COMPUTE` times the compute add to the score at the largest of both: draws."""
        flops, stimuli = self.largest
        now = self.predict(flops, stimuli)
        return now - self.predict(flops, stimuli + MORE_STIMULI), now - self.predict(flops * MORE_COMPUTE, stimuli)

    def sentence(self) -> str:
        """Which of the two gains more, or that it is undetermined."""
        stimuli, compute = self.gains()
        difference = np.quantile((stimuli - compute)[1:], [0.025, 0.975])
        said = f"{MORE_STIMULI} more stimuli gain {_said(stimuli)}, {MORE_COMPUTE:g} times the compute {_said(compute)}"
        if difference[0] > 0:
            return f"{said}: stimuli gain more"
        return f"{said}: compute gains more" if difference[1] < 0 else f"{said}: which gains more is undetermined"


def _said(gain: Array) -> str:
    low, high = np.quantile(gain[1:], [0.025, 0.975])
    return f"{gain[0]:+.4f} [{low:+.4f}, {high:+.4f}]"


def fit_mapping_law(frame: pd.DataFrame, n_boot: int = N_BOOT, seed: int = 0) -> MappingLaw:
    """Least squares of ln L over rows, with a bootstrap of runs and of the orders of their stimuli.

    Args:
        frame: one row a run, number of stimuli and order: run_id, flops, mapping_samples, seed, score.

    Raises:
        ValueError: columns that are missing, fewer than 3 numbers of stimuli, scores of 1 or more throughout.
    """
    absent = [c for c in ("run_id", "flops", "mapping_samples", "score") if c not in frame]
    if absent:
        raise ValueError(f"mapping law: the frame has no column {absent[0]!r}; it has {', '.join(frame.columns)}")
    rows = frame[frame["score"] < 1.0]
    if rows["mapping_samples"].nunique() < 3:
        raise ValueError(
            f"mapping law: {rows['mapping_samples'].nunique()} numbers of stimuli with a score below 1; needs at least "
            "3: score with scoring.mapping.samples of 3 or more"
        )
    units = float(rows["flops"].mean()), float(rows["mapping_samples"].mean())
    x = np.stack([rows["flops"] / units[0], rows["mapping_samples"] / units[1]])
    log_y = np.log(1.0 - rows["score"].to_numpy())
    best = _fit(x, log_y, np.ones(len(rows)))
    rng, runs = np.random.default_rng(seed), rows["run_id"].astype("category").cat.codes.to_numpy()
    draws = [best]
    for _ in range(n_boot):
        counts = rng.multinomial(runs.max() + 1, np.full(runs.max() + 1, 1 / (runs.max() + 1)))
        weights = counts[runs] * rng.exponential(size=len(rows))
        draws.append(_fit(x, log_y, weights, best))
    largest = float(rows["flops"].max()), float(rows["mapping_samples"].max())
    return MappingLaw(np.stack(draws), units, largest)


def _fit(x: Array, log_y: Array, weights: Array, start: Array | None = None) -> Array:
    root = np.sqrt(weights)
    varies = len(np.unique(x[0])) > 1

    def residual(p: Array) -> Array:
        a = p[1] if varies else 0.0
        return np.asarray(root * (np.log(p[0] + a * x[0] ** -p[2] + p[3] * x[1] ** -p[4]) - log_y))

    starts: Sequence[Array] = [start] if start is not None else [
        np.array([e, (0.9 - e) / 2, alpha, (0.9 - e) / 2, beta])
        for e in (0.05, 0.4, 0.7) for alpha in (0.1, 0.5) for beta in (0.2, 0.8)
    ]  # fmt: skip
    found = [least_squares(residual, np.clip(s, *_LIMITS), bounds=_LIMITS) for s in starts]
    best: Array = min(found, key=lambda f: f.cost).x
    return best if varies else np.array([best[0], 0.0, best[2], *best[3:]])
