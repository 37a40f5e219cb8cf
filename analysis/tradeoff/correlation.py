"""Rank correlation of accuracy and score, with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.estimate import Estimate, estimate
from analysis.fit.resample import bootstrap_weights
from analysis.table import ScalingTable


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of accuracy and score over n models, with its bootstrap interval."""

    n: int
    rho: Estimate


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation; nan where one side does not vary."""
    return float(_resampled_spearman(x, y, np.ones((1, len(x))))[0])


def _resampled_spearman(x: Array, y: Array, weights: Array) -> Array:
    """Spearman of each resample (B,), with mean ranks for ties, from weights (B, n) without copying points."""
    rank_x, rank_y = _weighted_ranks(x, weights), _weighted_ranks(y, weights)
    total = weights.sum(axis=1, keepdims=True)
    dx, dy = (r - (weights * r).sum(axis=1, keepdims=True) / total for r in (rank_x, rank_y))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt((weights * dx**2).sum(axis=1) * (weights * dy**2).sum(axis=1))
        return (weights * dx * dy).sum(axis=1) / scale


def _weighted_ranks(x: Array, weights: Array) -> Array:
    """Mean rank (B, n) of each value in a sample that holds it weights[b, i] times."""
    values, group = np.unique(x, return_inverse=True)
    held = np.zeros((len(weights), len(values)))
    np.add.at(held.T, group, weights.T)
    return (np.cumsum(held, axis=1) - held / 2 + 0.5)[:, group]


def correlate(table: ScalingTable, bootstrap: int = 1000, seed: int = 0, cluster: bool = True) -> Correlation | None:
    """Spearman(accuracy, score) with a 95 % interval; None below four models. Clusters: configurations, or rows."""
    x, y = table.values("accuracy"), table.values("score")
    if len(x) < 4:
        return None
    clusters = cluster_codes(table, cluster)
    weights = (
        bootstrap_weights(clusters, np.zeros_like(clusters), bootstrap, seed) if bootstrap else np.empty((0, len(x)))
    )
    draws = _resampled_spearman(x, y, weights)
    return Correlation(len(x), estimate(spearman(x, y), draws[np.isfinite(draws)], 0.95))


def cluster_codes(table: ScalingTable, cluster: bool) -> npt.NDArray[np.int64]:
    return table.clusters() if cluster else np.arange(len(table))
