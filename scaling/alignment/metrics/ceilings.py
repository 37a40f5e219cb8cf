"""Noise ceilings: how well the noiseless signal would correlate with the mean over repetitions or subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from math import comb
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.metrics.error_bars import SplitScore, split_score
from scaling.alignment.metrics.rsa import rsa
from scaling.alignment.numerics import BLOCK_ELEMENTS, VARIANCE_FLOOR, Array
from scaling.errors import StudyError, known_names

Convention = Literal["r/c", "r2/c2", "r2/c", "mean r/c"]
Scale = Literal["correlation", "reliability"]

N_HALVINGS = 100  # assumption: the mean over 100 halvings varies by less than 0.01 between seeds
MIN_SHARED = 4  # stimuli that two halves share: r of 2 is ±1 and of 3 nearly so


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
        data: (n_repetitions, ...) repetitions or subjects first, without NaN.
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
    reaches. Halvings and correction are those of `split_half_reliability`; a halving of which a half is constant shows
    no reliability, r = 0. Means leave out NaN, and stimuli that are NaN throughout a half are left out of its r; the
    correction then assumes about as many repetitions of every stimulus. 0 where the reliability is not positive, NaN
    for a neuroid that is constant.

    Args:
        responses: (n_repetitions, n_stimuli, n_neuroids); NaN where a stimulus was not repeated so often.

    Returns:
        (n_neuroids,)

    Raises:
        StudyError: fewer than 2 repetitions, not three axes, or infinite values.

    Source: correction for attenuation, Spearman (1904), Am. J. Psychol. 15:72; as Schoppe et al. (2016), Front.
    Comput. Neurosci. 10:10.
    """
    data = _check_repetitions(responses)
    pairs = list(halvings(len(data), n_halvings, seed))
    halves = np.zeros((2, len(pairs), len(data)))
    for number, pair in enumerate(pairs):
        for half, members in zip(halves, pair, strict=True):
            half[number, members] = 1.0
    r = np.nan_to_num(_half_correlations(data, *halves)).mean(axis=0)
    reliability = spearman_brown(r, len(data) / (len(data) // 2))
    everything = np.ones((1, len(data)))
    constant = np.isnan(_half_correlations(data, everything, everything)[0])
    return np.where(constant, np.nan, np.sqrt(np.maximum(reliability, 0.0)))


def neuroid_ceiling(responses: ArrayLike, n_halvings: int = N_HALVINGS, seed: int = 0) -> float:
    """Median of `neuroid_ceilings` over the neuroids that vary; NaN if none does."""
    ceilings = neuroid_ceilings(responses, n_halvings, seed)
    varying = ceilings[~np.isnan(ceilings)]
    return float(np.median(varying)) if varying.size else float("nan")


def split_half_ceiling(responses: ArrayLike, n_splits: int = 10, seed: int = 1) -> SplitScore:
    """Brain-Score's ceiling of a recording: median over neuroids, mean over splits of `split_half_ceilings`.

    It is a reliability, not its root: divide r² by it, or r by its root (`ceiled_score`, `neuroid_ceilings`).

    Args:
        responses: (n_repetitions, n_stimuli, n_neuroids); NaN where a stimulus was not repeated so often.

    Returns:
        The ceiling and its error, the standard deviation (ddof 0) over splits / √n_splits; NaN if no neuroid varies.
    """
    return split_score(split_half_ceilings(responses, n_splits, seed))


def split_half_ceilings(responses: ArrayLike, n_splits: int = 10, seed: int = 1) -> Array:
    """Spearman–Brown corrected split-half correlation of every neuroid: `2r/(1 + r)`, (n_splits, n_neuroids).

    Each split deals the repetitions at random to two halves (an odd one to the second) and correlates their means
    over stimuli. A mean leaves out NaN; a stimulus that is NaN throughout one half of a neuroid is left out of its r
    in that split. NaN where fewer than 4 stimuli remain or a half is constant; below 0, down to −∞, without signal.

    Args:
        responses: (n_repetitions, n_stimuli, n_neuroids), any floating type; NaN for a missing presentation. The
            first axis in the order of the sorted repetition values, which the seeded splits index.

    Raises:
        StudyError: fewer than 2 repetitions, not three axes, or infinite values.

    Source: Brain-Score's `InternalConsistency` (Schrimpf et al. 2018, bioRxiv 407007): `ShuffleSplit(10,
    train_size=.5, random_state=1)` over the unique repetitions; there
    a stimulus without a presentation in one half stops the computation.
    """
    data = _check_repetitions(responses)
    return spearman_brown(_half_correlations(data, *_half_indicators(len(data), n_splits, seed)))


def nan_pearson(first: ArrayLike, second: ArrayLike) -> Array:
    """Pearson r over the stimuli that are finite in both: (..., n_stimuli, n_neuroids) twice → (..., n_neuroids).

    NaN where fewer than 4 stimuli are shared, or where either is constant over them to rounding.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (first, second))
    shared = np.isfinite(a) & np.isfinite(b)
    n = np.count_nonzero(shared, axis=-2)
    a, b = (_masked_deviations(x, shared) for x in (a, b))
    scale = np.sqrt(np.sum(a**2, axis=-2)) * np.sqrt(np.sum(b**2, axis=-2))
    defined = (n >= MIN_SHARED) & (scale > 0)
    r = np.divide(np.sum(a * b, axis=-2), scale, out=np.full(scale.shape, np.nan), where=defined)
    return np.clip(r, -1.0, 1.0)


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


def single_rdm_ceiling(rdms: ArrayLike, n_halvings: int = N_HALVINGS, seed: int = 0) -> float:
    """Ceiling of RSA against single subjects: √reliability of one subject's RDM.

    With ρ the reliability of the mean of n (`rdm_ceiling`²), one subject's is `ρ / (n − (n − 1) ρ)`, Spearman–Brown
    for a measurement 1/n as long; its root is what the noiseless mean of the population reaches, and lies between
    the two of `intersubject_ceilings`.
    """
    mean = rdm_ceiling(rdms, n_halvings, seed)
    return float(np.sqrt(np.maximum(spearman_brown(mean**2, 1.0 / len(np.asarray(rdms))), 0.0)))


class IntersubjectCeilings(NamedTuple):
    """Correlation of each subject with the others' mean (`lower`) and with everyone's mean, its own in it (`upper`)."""

    lower: Array
    upper: Array


def intersubject_ceilings(data: ArrayLike, correlate: Callable[[Array, Array], ArrayLike]) -> IntersubjectCeilings:
    """How well subjects predict one another: bounds for a model that is compared with single subjects.

    `lower[s] = corr(data[s], mean over t ≠ s of data[t])`: the others are fewer and noisier than the population.
    `upper[s] = corr(data[s], mean over all t of data[t])`: the pooled mean has partly fitted the subject's own noise.
    Means leave out NaN. For a target that is the mean over subjects use `rdm_ceiling` or `neuroid_ceilings`.

    Args:
        data: (n_subjects, ...) responses or RDMs. correlate: (subject, mean) → correlation(s): `rsa`, `pearson`, or
            `nan_pearson` where subjects miss stimuli.

    Returns:
        arrays (n_subjects, ...) in the shape that `correlate` returns; their mean over subjects is the ceiling.

    Raises:
        StudyError: fewer than 2 subjects.

    Source: Nili et al. (2014), PLoS Comput. Biol. 10:e1003553; there the RDMs are ranked before they are averaged.
    """
    data = np.asarray(data, dtype=np.float64)
    if len(data) < 2:
        raise StudyError(f"ceiling: {len(data)} subjects cannot predict one another; give at least 2, or no ceiling")
    measured = np.isfinite(data)
    values, counts = np.where(measured, data, 0.0), measured.sum(axis=0)
    total = values.sum(axis=0)
    pooled = _quotient(total, counts)
    others = [_quotient(total - value, counts - own) for value, own in zip(values, measured, strict=True)]
    lower = np.stack([np.asarray(correlate(x, other)) for x, other in zip(data, others, strict=True)])
    return IntersubjectCeilings(lower, np.stack([np.asarray(correlate(x, pooled)) for x in data]))


# What each convention divides by, and what each kind of ceiling is: √reliability, with which the noiseless signal
# correlates, or the reliability itself. Kinds that are not here bound a score in a way of their own.
SCALES: dict[Convention, Scale] = {
    "r/c": "correlation",
    "mean r/c": "correlation",
    "r2/c": "reliability",
    "r2/c2": "reliability",
}
KIND_SCALES: dict[str, Scale] = {
    "split_half": "correlation",
    "subjects": "correlation",
    "single_subject": "correlation",
    "halves": "correlation",
    "assumed_noise": "correlation",
    "published": "correlation",
    "brain_score": "reliability",
}


def ceiling_for(ceiling: Array, kind: str, convention: Convention) -> Array:
    """A ceiling on the scale that a convention divides by: as it is, its square, or its root.

    Under `r/c`, `mean r/c` and `r2/c` the noiseless signal then scores 1, whatever kind of ceiling a benchmark has, so
    that benchmarks of a region share a scale. (Under `r2/c2` it scores 1 / reliability, as in the published table.)
    """
    given, wanted = KIND_SCALES.get(kind, SCALES[convention]), SCALES[convention]
    if given == wanted:
        return ceiling
    return ceiling**2 if wanted == "reliability" else np.sqrt(np.maximum(ceiling, 0.0))


def ceiled_score(r: float, ceiling: float, convention: Convention = "r/c") -> float:
    """A correlation relative to its ceiling; the sign of r is always kept. A convention names formula and ceiling.

    - `r/c`: r / c, c = √reliability, what a perfect model reaches (`neuroid_ceilings`). Of the median r over units and
      the median c.
    - `mean r/c`: the same unit by unit, then the mean over units (Gokce, Tang & Schrimpf 2026).
    - `r2/c`: sign(r)·r²/c, c the reliability (`split_half_ceiling`): the share of the explainable variance that is
      explained. Brain-Score's since 2026-01-13.
    - `r2/c2`: sign(r)·(r/c)², c the reliability: Brain-Score until then, and the published table, to compare with it:
      old = new / c, and the noiseless signal scores 1 / c.

    Raises:
        StudyError: an unknown convention, or a ceiling that is not positive: nothing reliable to explain.
    """
    if convention not in get_args(Convention):
        raise StudyError(f"ceiling: convention {convention!r}; {known_names(str(convention), get_args(Convention))}")
    if not ceiling > 0:
        raise StudyError(
            f"ceiling {ceiling:.3g} is not positive: the recording has no reliable signal; give no ceiling"
        )
    if convention in ("r/c", "mean r/c"):
        return float(r / ceiling)
    return float(r * abs(r) / (ceiling**2 if convention == "r2/c2" else ceiling))


def _check_repetitions(responses: ArrayLike) -> NDArray[np.floating]:
    data = np.asarray(responses)
    if data.ndim != 3 or 0 in data.shape:
        raise StudyError(f"ceiling: responses of shape {data.shape}; give (n_repetitions, n_stimuli, n_neuroids)")
    infinite = int(np.count_nonzero(np.isinf(data)))
    if infinite:
        raise StudyError(f"ceiling: {infinite:,} of {data.size:,} responses are infinite; only NaN marks a missing one")
    return data


def _half_correlations(data: NDArray[np.floating], firsts: Array, seconds: Array) -> Array:
    """r between the means of two halves: indicators (n_splits, n_repetitions) twice → (n_splits, n_neuroids).

    In blocks of neuroids, so that memory is bounded whatever the recording's size.
    """
    width = max(1, BLOCK_ELEMENTS // (max(len(data), len(firsts)) * data.shape[1]))
    blocks = [data[:, :, start : start + width] for start in range(0, data.shape[2], width)]
    r = [nan_pearson(_half_means(block, firsts), _half_means(block, seconds)) for block in blocks]
    return np.concatenate(r, axis=1)


def _half_indicators(n_repetitions: int, n_splits: int, seed: int) -> tuple[Array, Array]:
    """Which repetitions each half of each split holds: two (n_splits, n_repetitions) of 0 and 1."""
    if n_repetitions < 2 or n_splits < 1:
        raise StudyError(
            f"ceiling: {n_repetitions} repetitions cannot be halved n_splits={n_splits} times; give at least 2 and 1"
        )
    random, firsts = np.random.RandomState(seed), np.zeros((n_splits, n_repetitions))
    for first in firsts:
        # as scikit-learn's ShuffleSplit: the test part comes first in the permutation and is the larger
        first[random.permutation(n_repetitions)[-(n_repetitions // 2) :]] = 1.0
    return firsts, 1.0 - firsts


def _half_means(block: NDArray[np.floating], members: Array) -> Array:
    """Mean over the repetitions of a half that are not NaN: (n_splits, n_stimuli, n_neuroids); NaN where all are."""
    present = np.isfinite(block)
    totals = np.tensordot(members, np.where(present, block, 0.0).astype(np.float64), axes=1)
    return _quotient(totals, np.tensordot(members, present.astype(np.float64), axes=1))


def _masked_deviations(values: Array, mask: NDArray[np.bool_]) -> Array:
    """Minus the mean over the masked stimuli, zero outside; all zero where they vary only by rounding."""
    values = np.where(mask, values, 0.0)
    mean = _quotient(values.sum(axis=-2), np.count_nonzero(mask, axis=-2))
    deviations = np.where(mask, values - mean[..., None, :], 0.0)
    squares, size = np.sum(deviations**2, axis=-2), np.sum(values**2, axis=-2)
    return np.where((squares <= VARIANCE_FLOOR**2 * size)[..., None, :], 0.0, deviations)


def _quotient(total: Array, count: NDArray) -> Array:
    """total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
