"""Noise ceilings: how well the noiseless signal would correlate with the mean over repetitions or subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.metrics import Array, pearson, rsa
from scaling.errors import StudyError

N_HALVINGS = 100  # assumption: the mean over 100 halvings varies by less than 0.01 between seeds


def spearman_brown(r: ArrayLike, factor: float = 2.0) -> Array:
    """Reliability of a measurement `factor` times as long: `k·r / (1 + (k − 1)·r)`; k = 2 gives 2r/(1 + r).

    Source: Spearman (1910) and Brown (1910), British Journal of Psychology 3.
    """
    r = np.asarray(r, dtype=np.float64)
    with np.errstate(divide="ignore"):  # halves that are opposites, r = −1, have a reliability of −∞
        return factor * r / (1.0 + (factor - 1.0) * r)


def halvings(n_repetitions: int, n_halvings: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of disjoint halves of ⌊n/2⌋ repetitions: every distinct one if they are few, else seeded random ones."""
    half = n_repetitions // 2
    if half < 1:
        raise StudyError(f"ceiling: {n_repetitions} repetitions cannot be halved; give at least 2, or no ceiling")
    if n_repetitions % 2 == 0 and comb(n_repetitions, half) // 2 <= n_halvings:
        for rest in combinations(range(1, n_repetitions), half - 1):
            first = np.array((0, *rest), dtype=np.intp)
            yield first, np.setdiff1d(np.arange(n_repetitions), first)
        return
    rng = np.random.default_rng(seed)
    for _ in range(n_halvings):
        order = rng.permutation(n_repetitions)
        yield order[:half], order[half : 2 * half]


def split_half_reliability(
    data: ArrayLike, correlate: Callable[[Array, Array], ArrayLike], n_halvings: int = N_HALVINGS, seed: int = 0
) -> Array:
    """Reliability of the mean over repetitions: mean split-half correlation, corrected to full length.

    `rel = SB_k(mean over halvings of corr(mean of one half, mean of the other))`, k = n / ⌊n/2⌋ (2 for even n;
    an odd n leaves one repetition out of each halving). Correlations are averaged before the correction, because
    the correction of a single negative r can explode.

    Args:
        data: (n_repetitions, ...) repetitions or subjects first.
        correlate: (mean of a half, mean of the other half) → correlation(s).

    Returns:
        Reliability in the shape that `correlate` returns; may be negative where there is no signal.

    Raises:
        StudyError: fewer than 2 repetitions.
    """
    data = np.asarray(data, dtype=np.float64)
    pairs = halvings(len(data), n_halvings, seed)
    r = np.mean([np.asarray(correlate(data[a].mean(axis=0), data[b].mean(axis=0))) for a, b in pairs], axis=0)
    return spearman_brown(r, len(data) / (len(data) // 2))


def neuroid_ceilings(responses: ArrayLike, n_halvings: int = N_HALVINGS, seed: int = 0) -> Array:
    """Ceiling per neuroid on the correlation scale: √reliability of the mean over repetitions.

    With y = signal + noise, `rel = var(signal) / var(mean y)` and `corr(signal, mean y) = √rel`: what a perfect model
    reaches. 0 where the reliability is not positive, NaN for a neuroid that is constant.

    Args:
        responses: (n_repetitions, n_stimuli, n_neuroids).

    Returns:
        (n_neuroids,)

    Source: correction for attenuation, Spearman (1904), Am. J. Psychol. 15:72; as Schoppe et al. (2016), Front.
    Comput. Neurosci. 10:10.
    """
    responses = np.asarray(responses, dtype=np.float64)
    reliability = split_half_reliability(responses, pearson, n_halvings, seed)
    constant = np.isnan(pearson(responses.mean(axis=0), responses.mean(axis=0)))
    return np.where(constant, np.nan, np.sqrt(np.maximum(np.nan_to_num(reliability), 0.0)))


def neuroid_ceiling(responses: ArrayLike, n_halvings: int = N_HALVINGS, seed: int = 0) -> float:
    """Median of `neuroid_ceilings` over the neuroids that vary; NaN if none does."""
    ceilings = neuroid_ceilings(responses, n_halvings, seed)
    varying = ceilings[~np.isnan(ceilings)]
    return float(np.median(varying)) if varying.size else float("nan")


def rdm_ceiling(rdms: ArrayLike, n_halvings: int = N_HALVINGS, seed: int = 0) -> float:
    """Ceiling of RSA against the mean of several RDMs (subjects or repetitions): √reliability of that mean.

    The Spearman correlation of half-mean RDMs, Spearman–Brown corrected, then the square root as in
    `neuroid_ceilings`. The correction is exact for Pearson and an approximation for rank correlation. Subjects that
    differ systematically count as noise: the ceiling is that of a model of the population.

    Args:
        rdms: (n_subjects, n_stimuli, n_stimuli).

    Returns:
        In [0, 1]; NaN if the mean RDM is constant.

    Source: as `neuroid_ceilings`; compare the bounds of Nili et al. (2014), which do not correct for attenuation.
    """
    reliability = float(split_half_reliability(rdms, rsa, n_halvings, seed))
    return float(np.sqrt(max(reliability, 0.0))) if np.isfinite(reliability) else float("nan")
