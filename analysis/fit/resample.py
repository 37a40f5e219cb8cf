"""Bootstrap weights over configurations, and the intervals that they give.

A bootstrap draws whole clusters (the seeds, checkpoints and regions of one configuration stay together), within
strata where asked; a draw is a vector of integer weights on the same points, never a copy of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.columns import Array

Codes = npt.NDArray[np.int64]


def bootstrap_weights(clusters: Codes, strata: Codes, draws: int, seed: int) -> Array:
    """Weights (draws, n) of the rows: how often the row's cluster was drawn, drawing within each stratum.

    clusters: (n,) codes 0..G-1; strata: (n,) codes, constant within a cluster.
    """
    rng = np.random.default_rng(seed)
    n_clusters = int(clusters.max()) + 1
    stratum = np.zeros(n_clusters, dtype=np.int64)
    stratum[clusters] = strata
    counts = np.zeros((draws, n_clusters))
    for code in np.unique(stratum):
        members = np.flatnonzero(stratum == code)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return counts[:, clusters]


def jackknife_weights(clusters: Codes) -> Array:
    """Weights (G, n): each cluster left out once."""
    n_clusters = int(clusters.max()) + 1
    return (clusters[None, :] != np.arange(n_clusters)[:, None]).astype(np.float64)


HALVED = 0.5  # share of the median-bias correction that the default interval applies; see `bca_interval`


def bca_interval(
    draws: Array, estimate: float, left_out: Array, level: float, correction: float = 1.0
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987, eq. 6.8); infinite draws count as such.

    draws: (B,) bootstrap values; estimate: value on all data; left_out: (G,) values with one cluster left out.
    correction: share of the median-bias correction z0 applied; 1 is Efron's interval. With absolute residuals the
    draws lie lumpily around the estimate and z0 is itself noisy: on planted laws (64 runs, 3 % noise, 300 draws)
    95 % intervals cover 92-93 % with 1, 95-96 % with HALVED, and 97 % without correction.
    """
    from scipy.special import ndtr, ndtri  # here: a recipe without draws needs no SciPy

    below = np.mean(draws < estimate) + np.mean(draws == estimate) / 2
    edge = 1 / (len(draws) + 1)
    bias = correction * float(ndtri(np.clip(below, edge, 1 - edge)))
    z = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    shifted = bias + (bias + z) / np.maximum(1 - acceleration(left_out) * (bias + z), 1e-6)
    low, high = np.quantile(draws, ndtr(shifted), method="nearest")
    return float(low), float(high)


def stretch_of(n_configurations: int, n_params: int) -> float:
    """By how much intervals of resampled configurations are too narrow: sqrt(G / (G - p)).

    Residuals that p parameters were fitted to are smaller than the noise by this factor, and a bootstrap that draws
    from them inherits it. On planted laws of 16 to 36 configurations (tests/benchmarks/bench_coverage.py, 1,080 fits)
    95 % intervals covered 90-97 % without it, and 94-97 % with it.
    """
    return float(np.sqrt(n_configurations / max(n_configurations - n_params, 1)))


def stretched(value: float, low: float, high: float, factor: float) -> tuple[float, float]:
    """The interval, its ends `factor` times as far from the value.

    In logarithms where all three are above 0; an interval that does not go below 0 never does.
    """
    if factor == 1 or not np.isfinite(value):
        return low, high
    if min(value, low, high) > 0:
        centre = np.log(value)
        with np.errstate(over="ignore"):
            ends = np.exp(centre + factor * (np.log([low, high]) - centre))
    else:
        ends = value + factor * (np.array([low, high]) - value)
        ends = np.maximum(ends, 0.0) if low >= 0 else ends
    return float(ends[0]), float(ends[1])


def acceleration(left_out: Array) -> float:
    """Efron's acceleration from jackknife values (G,); 0 where they do not vary or are not finite."""
    if not np.isfinite(left_out).all() or not len(left_out):
        return 0.0
    deviation = left_out.mean() - left_out
    largest = float(np.max(np.abs(deviation)))
    if largest == 0:
        return 0.0
    scaled = deviation / largest
    return float(np.sum(scaled**3) / (6 * np.sum(scaled**2) ** 1.5))
