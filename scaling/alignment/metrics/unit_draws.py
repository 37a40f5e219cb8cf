"""Bootstrap over stimuli and subjects of scores whose subjects are known. Seeded, no I/O.

Draws are a function of seed and shape alone, so that two models' draws of one benchmark are paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from scaling.alignment.metrics.error_bars import Interval, bootstrap_draws, draw_counts, weighted_pearson
from scaling.alignment.metrics.splits import StimulusSplit
from scaling.alignment.numerics import Array

FEWEST = 3  # subjects from which others may be inferred at all: a spread of two is known to a factor of 30


def fold_draws(
    predictions: Sequence[Array],
    responses: Array,
    splits: Sequence[StimulusSplit],
    n_draws: int,
    seed: int,
    units: bool = False,
) -> Array:
    """(n_splits, n_draws, n_units) Pearson r of draws of stimuli with replacement, and of units where asked for.

    A stimulus that is held out in several splits is drawn as often in each.
    """
    stimuli, columns = bootstrap_draws(responses.shape, n_draws, seed)
    weights = draw_counts(stimuli)
    r = np.stack(
        [
            weighted_pearson(predicted, responses[split.test], weights[:, split.test])
            for predicted, split in zip(predictions, splits, strict=True)
        ]
    )
    return np.take_along_axis(r, columns[None], axis=2) if units else r


def centred(draws: Array, values: Array) -> Array:
    """Draws shifted so that their mean is the value itself: (n_subjects, n_draws), (n_subjects,).

    A draw holds some stimuli twice and others not at all, which shifts a median of correlations over few stimuli.
    """
    return draws - np.nanmean(draws, axis=1, keepdims=True) + values[:, None]


def subject_draws(draws: Array, seed: int) -> Array:
    """Mean over subjects drawn with replacement, each with its own draw of stimuli: (n_subjects, n_draws) → (n_draws,).

    One or two subjects are not drawn: the mean then speaks of these alone.
    """
    if len(draws) < FEWEST:
        return draws.mean(axis=0)
    return np.take_along_axis(draws.T, drawn_subjects(len(draws), draws.shape[1], seed), axis=1).mean(axis=1)


def drawn_subjects(n_subjects: int, n_draws: int, seed: int) -> NDArray[np.intp]:
    """(n_draws, n_subjects) subjects with replacement, by a stream of their own."""
    return np.random.default_rng((seed, n_subjects)).integers(0, n_subjects, (n_draws, n_subjects))


def speaks_of(n_subjects: int | None, names: Sequence[str] = (), over: str = "stimuli") -> str:
    """What an interval says something about."""
    if n_subjects is None:
        return over
    if n_subjects < FEWEST:
        these = "this subject" if n_subjects == 1 else f"these {n_subjects} subjects"
        return f"{over}; {' and '.join(names) or these} alone"
    return f"stimuli and subjects ({n_subjects})"


def spread_of_new(n_subjects: int | None) -> float:
    """What the spread of drawn subjects' means is multiplied by to be that of new subjects."""
    return 1.0 if n_subjects is None or n_subjects < FEWEST else float(np.sqrt(n_subjects / (n_subjects - 1)))


def two_level_interval(draws: Array, n_subjects: int | None, level: float = 0.95) -> Interval:
    """Percentiles of draws of subjects and stimuli, widened for few subjects.

    Subjects drawn with replacement vary by (n − 1)/n of what new ones would, and n subjects tell their own spread no
    better than n − 1 degrees of freedom: deviations from the mean are multiplied by `√(n/(n − 1)) · t_{n−1} / z`, the
    factor by which a t interval exceeds a normal one of the bootstrap's spread. One or two subjects: no factor.

    Source: bootstrap's deficit at small n, Efron & Tibshirani (1993), chapter 5; t: Student (1908).
    """
    values = draws[~np.isnan(draws)]
    if not values.size:
        return Interval(float("nan"), float("nan"))
    tail = (1 + level) / 2
    factor = spread_of_new(n_subjects)
    if n_subjects is not None and n_subjects >= FEWEST:
        factor *= float(stdtrit(n_subjects - 1, tail) / ndtri(tail))
    low, high = np.quantile(values, [1 - tail, tail])
    middle = float(values.mean()) if factor != 1.0 else 0.0  # nothing is shifted where nothing is widened
    ends = (middle + factor * (float(end) - middle) for end in (low, high))
    low, high = (min(max(end, -1.0), 1.0) for end in ends)  # of a correlation, or of a share
    return Interval(low, high)
