"""Rank correlation of accuracy and score, with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.columns import Array
from analysis.fit.estimate import Estimate, estimate
from analysis.fit.resample import Codes, bootstrap_weights
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


def correlation_of(x: Array, y: Array, clusters: Codes, bootstrap: int, seed: int) -> Correlation | None:
    """Spearman of x and y (n,) with a 95 % interval; None below four points. clusters: (n,), drawn whole."""
    if len(x) < 4:
        return None
    codes = pd.factorize(clusters)[0].astype(np.int64)  # 0, 1, … by appearance, whatever part of a table this is
    weights = bootstrap_weights(codes, np.zeros_like(codes), bootstrap, seed) if bootstrap else np.empty((0, len(x)))
    draws = _resampled_spearman(x, y, weights)
    return Correlation(len(x), estimate(spearman(x, y), draws[np.isfinite(draws)], 0.95))


def cluster_codes(table: ScalingTable, cluster: bool) -> Codes:
    return table.clusters() if cluster else np.arange(len(table))
