"""Error bars of alignment scores: over splits, and bootstrap over stimuli and neuroids. Seeded, no I/O.

A bootstrap draws as many stimuli (neuroids) as there are, with replacement, and computes the score of each draw again.
Stimuli enter as weights (how often each was drawn), so that all neuroids and draws share a few matrix products. Fitted
predictions, the layer and the ceiling stay as they are: the interval is that of the score given those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.metrics.rsa import RsaKind, check_rdms, pairs_of, upper_triangle
from scaling.alignment.metrics.splits import StimulusSplit, check_splits
from scaling.alignment.numerics import BLOCK_ELEMENTS, VARIANCE_FLOOR, Array, as_responses, centre_columns
from scaling.errors import StudyError, known_names

Over = Literal["stimuli", "neuroids", "both"]

N_BOOT = 1000  # assumption: the ends of a 95 % interval then vary by about a twentieth of its width between seeds


class SplitScore(NamedTuple):
    """A score and its error over splits; no error where fewer than 2 splits have a score."""

    score: float
    error: float | None


class Interval(NamedTuple):
    """A percentile interval."""

    low: float
    high: float


def split_score(correlations: ArrayLike) -> SplitScore:
    """Brain-Score's aggregate: median over neuroids, then mean over splits, and `fold_error`.

    Args:
        correlations: (n_splits, n_neuroids); NaN where a neuroid is constant in a split, left out of the median.
            A split without any is left out of the mean.

    Returns:
        NaN if no neuroid varies in any split.
    """
    medians = nan_median(np.asarray(correlations, dtype=np.float64))
    defined = medians[~np.isnan(medians)]
    return SplitScore(float(defined.mean()) if defined.size else float("nan"), fold_error(medians))


def fold_error(split_scores: ArrayLike) -> float | None:
    """Brain-Score's error of a mean over splits: `std (ddof 0) / √n_splits`; None for fewer than 2 that are defined.

    It treats the splits as independent. They share their training stimuli, so it is too small, and it says nothing
    about other stimuli or neuroids: `bootstrap_interval` does.

    Args:
        split_scores: (n_splits,); NaN is left out.
    """
    scores = np.asarray(split_scores, dtype=np.float64)
    scores = scores[~np.isnan(scores)]
    if scores.size < 2:
        return None
    with np.errstate(invalid="ignore"):  # a reliability of −∞ has no spread
        return float(scores.std() / np.sqrt(scores.size))


def bootstrap_scores(
    predictions: Sequence[ArrayLike],
    responses: ArrayLike,
    splits: Sequence[StimulusSplit],
    over: Over = "both",
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Array:
    """Scores (median over neuroids of r, mean over splits) of bootstrap draws: (n_boot,).

    One draw of stimuli, and one of neuroids, holds in all splits: a stimulus held out in several is drawn as often in
    each, so that more splits of the same stimuli do not narrow the interval.

    Args:
        predictions: held-out predictions (n_test, n_neuroids) of each split. responses: (n_stimuli, n_neuroids).
        over: what is drawn. seed: of two streams, stimuli and neuroids, that do not depend on `over`.

    Raises:
        StudyError: an unknown `over`, predictions that do not fit the splits, responses that are not finite.

    Source: percentile bootstrap, Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    y = as_responses(responses)
    check_splits(splits, len(y))
    if over not in get_args(Over):
        raise StudyError(f"bootstrap: over {over!r}; {known_names(str(over), get_args(Over))}")
    shapes, expected = [np.shape(p) for p in predictions], [(len(s.test), y.shape[1]) for s in splits]
    if shapes != expected:
        raise StudyError(f"bootstrap: predictions of shapes {shapes}, splits of {expected}; give one a split")
    stimuli, neuroids = bootstrap_draws(y.shape, n_boot, seed)
    weights = draw_counts(stimuli) if over != "neuroids" else np.ones((n_boot, len(y)))
    columns = neuroids if over != "stimuli" else None
    step = max(1, BLOCK_ELEMENTS // y.shape[1])
    medians = np.full((n_boot, len(splits)), np.nan)
    for number, (predicted, split) in enumerate(zip(predictions, splits, strict=True)):
        p = np.asarray(predicted, dtype=np.float64)
        for draws in (slice(start, start + step) for start in range(0, n_boot, step)):
            r = weighted_pearson(p, y[split.test], weights[draws][:, split.test])
            r = r if columns is None else np.take_along_axis(r, columns[draws], axis=1)
            medians[draws, number] = nan_median(r)
    defined = ~np.isnan(medians)
    totals, counts = np.where(defined, medians, 0.0).sum(axis=1), defined.sum(axis=1)
    return np.divide(totals, counts, out=np.full(n_boot, np.nan), where=counts > 0)


def bootstrap_rsa(
    model_rdm: ArrayLike, target_rdm: ArrayLike, kind: RsaKind = "spearman", n_boot: int = N_BOOT, seed: int = 0
) -> Array:
    """RSA of bootstrap draws of stimuli: (n_boot,).

    Pairs of a stimulus with itself are dropped: their dissimilarity of 0 in both RDMs would raise every correlation.
    Ranks are those within the draw. Costs n_boot · n² (Spearman: passes over the pairs; Pearson: matrix products).

    Args:
        model_rdm, target_rdm: (n_stimuli, n_stimuli). kind: 'spearman' or 'pearson'.

    Raises:
        StudyError: RDMs as in `rsa`; a whitened kind, whose covariance does not hold between copies of a stimulus.

    Source: Nili et al. (2014), PLoS Comput. Biol. 10:e1003553; the draws vary somewhat more than scores of new stimuli
    would (Schütt et al. 2023, eLife 12:e82566): the interval is conservative.
    """
    model, target = check_rdms(model_rdm, target_rdm)
    if kind not in ("spearman", "pearson"):
        raise StudyError(f"bootstrap: rsa kind {kind!r}; resampling stimuli needs 'spearman' or 'pearson'")
    stimuli, _ = bootstrap_draws((len(model), 1), n_boot, seed)
    resample = _resample_spearman if kind == "spearman" else _resample_pearson
    return resample(upper_triangle(model), upper_triangle(target), draw_counts(stimuli))


def percentile_interval(samples: ArrayLike, level: float = 0.95) -> Interval:
    """The middle `level` of bootstrap samples; those that are undefined (NaN) are left out, NaN if all are."""
    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_draws(shape: tuple[int, int], n_boot: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Stimuli (n_boot, n_stimuli) and neuroids (n_boot, n_neuroids) with replacement, two seeded streams."""
    if n_boot < 1:
        raise StudyError(f"bootstrap: n_boot={n_boot}; give at least 1 draw")
    streams = np.random.SeedSequence(seed).spawn(2)
    stimuli, neuroids = (
        np.random.default_rng(stream).integers(0, n, (n_boot, n)) for stream, n in zip(streams, shape, strict=True)
    )
    return stimuli, neuroids


def draw_counts(draws: NDArray[np.intp]) -> Array:
    """How often each of n is drawn: indices (n_boot, n) → (n_boot, n)."""
    return np.stack([np.bincount(draw, minlength=draws.shape[1]) for draw in draws]).astype(np.float64)


def weighted_pearson(predicted: Array, target: Array, weights: Array) -> Array:
    """Pearson r per neuroid under each row of weights: (n, q), (n, q), (n_boot, n) → (n_boot, q).

    As of a sample in which stimulus i comes w_i times. 0 where the prediction is constant over the stimuli with
    weight, NaN where the target is, or there is none.
    """
    p, t = centre_columns(predicted), centre_columns(target)  # near their mean the moments below do not cancel
    total = weights.sum(axis=1, keepdims=True)
    scaled = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    p_mean, t_mean = scaled @ p, scaled @ t
    p_variance, t_variance = _variance(scaled @ p**2, p_mean), _variance(scaled @ t**2, t_mean)
    scale = np.sqrt(p_variance) * np.sqrt(t_variance)
    r = np.divide(scaled @ (p * t) - p_mean * t_mean, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(t_variance > 0, np.clip(r, -1.0, 1.0), np.nan)


def nan_median(values: Array) -> Array:
    """Median over the last axis of the values that are not NaN; NaN where all are."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.count_nonzero(~np.isnan(values), axis=-1)[..., None]
    middle = [np.take_along_axis(ordered, np.maximum(i, 0), axis=-1)[..., 0] for i in ((count - 1) // 2, count // 2)]
    return np.where(middle[0] == middle[1], middle[0], (middle[0] + middle[1]) / 2)


def _resample_pearson(model: Array, target: Array, counts: Array) -> Array:
    """Moments over pairs i < j under the weights w_i w_j are quadratic forms of the counts: five matrix products."""
    n = counts.shape[1]
    x, y = (_square(centre_columns(d[:, None])[:, 0], n) for d in (model, target))
    total = counts.sum(axis=1) ** 2 - np.sum(counts**2, axis=1)
    x_mean, y_mean, x_square, y_square, xy = (
        np.divide(np.sum((counts @ m) * counts, axis=1), total, out=np.zeros_like(total), where=total > 0)
        for m in (x, y, x * x, y * y, x * y)
    )
    x_variance, y_variance = _variance(x_square, x_mean), _variance(y_square, y_mean)
    scale = np.sqrt(x_variance) * np.sqrt(y_variance)
    r = np.divide(xy - x_mean * y_mean, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(y_variance > 0, np.clip(r, -1.0, 1.0), np.nan)


def _resample_spearman(model: Array, target: Array, counts: Array) -> Array:
    rows, columns = pairs_of(counts.shape[1])
    x, y = dense_ranks(model), dense_ranks(target)
    samples = np.full(len(counts), np.nan)
    for number, count in enumerate(counts):
        weights = count[rows] * count[columns]
        drawn = np.flatnonzero(weights)
        if drawn.size:
            w = weights[drawn]
            x_ranks, y_ranks = (weighted_ranks(values[drawn], w)[:, None] for values in (x, y))
            samples[number] = weighted_pearson(x_ranks, y_ranks, w[None])[0, 0]
    return samples


def weighted_ranks(values: NDArray[np.intp], weights: Array) -> Array:
    """Rank of each value in a sample that holds it `weight` times; ties, its copies too, share their mean rank."""
    mass = np.bincount(values, weights)
    return (np.cumsum(mass) - (mass - 1) / 2)[values]


def dense_ranks(values: Array) -> NDArray[np.intp]:
    """0 for the smallest value, 1 for the next larger; all 0 when the values are constant to rounding."""
    if np.ptp(values) <= VARIANCE_FLOOR * np.max(np.abs(values)):
        return np.zeros(len(values), dtype=np.intp)
    return np.unique(values, return_inverse=True)[1]


def _variance(square: Array, mean: Array) -> Array:
    """Second moment minus the squared mean; exactly zero where that is rounding."""
    variance = square - mean**2
    return np.where(variance > VARIANCE_FLOOR * square, variance, 0.0)


def _square(pairs: Array, n: int) -> Array:
    """The symmetric matrix of `upper_triangle`'s entries, zero on the diagonal."""
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, k=1)] = pairs
    return matrix + matrix.T
