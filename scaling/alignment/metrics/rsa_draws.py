"""Bootstrap of RSA over stimuli and subjects: against the subjects' mean RDM, or against each one's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.metrics.error_bars import (
    bootstrap_draws,
    bootstrap_rsa,
    dense_ranks,
    draw_counts,
    weighted_pearson,
    weighted_ranks,
)
from scaling.alignment.metrics.rsa import RsaKind, pairs_of, upper_triangle
from scaling.alignment.metrics.unit_draws import FEWEST, drawn_subjects
from scaling.alignment.numerics import Array


def bootstrap_mean_rsa(model: Array, targets: Array, kind: RsaKind, n_draws: int, seed: int) -> Array:
    """RSA against the mean RDM of drawn subjects, on drawn stimuli: (n_draws,); of one or two subjects, of all.

    Args:
        model: (n_stimuli, n_stimuli). targets: (n_subjects, n_stimuli, n_stimuli). kind: 'spearman' or 'pearson'.
    """
    if len(targets) < FEWEST:
        return bootstrap_rsa(model, targets.mean(axis=0), kind, n_draws, seed)
    stimuli, _ = bootstrap_draws((len(model), 1), n_draws, seed)
    counts, subjects = draw_counts(stimuli), drawn_subjects(len(targets), n_draws, seed)
    pairs, found, rank = upper_triangle(targets), np.full(n_draws, np.nan), kind == "spearman"
    x: NDArray = upper_triangle(model)[:, None]
    if rank:
        x = dense_ranks(x[:, 0])[:, None]
    for number, (count, drawn) in enumerate(zip(counts, subjects, strict=True)):
        target = pairs[drawn].mean(axis=0)
        y = dense_ranks(target)[:, None] if rank else target[:, None]
        found[number] = _correlate(x, y, _pair_weights(count), rank)[0]
    return found


def bootstrap_subject_rsa(model: Array, targets: Array, n_draws: int, seed: int) -> Array:
    """Spearman's rho with each subject's RDM on drawn stimuli: (n_subjects, n_draws)."""
    stimuli, _ = bootstrap_draws((len(model), 1), n_draws, seed)
    x = dense_ranks(upper_triangle(model))[:, None]
    y = np.stack([dense_ranks(one) for one in upper_triangle(targets)], axis=1)
    return np.stack([_correlate(x, y, _pair_weights(count), True) for count in draw_counts(stimuli)], axis=1)


def _pair_weights(count: Array) -> Array:
    """How often each pair i < j comes in a draw; never a stimulus with itself."""
    rows, columns = pairs_of(len(count))
    return count[rows] * count[columns]


def _correlate(x: NDArray, y: NDArray, weights: Array, rank: bool) -> Array:
    """(q,) r of one column with q others over the pairs that are drawn."""
    drawn = np.flatnonzero(weights)
    if not drawn.size:
        return np.full(y.shape[1], np.nan)
    w, x, y = weights[drawn], x[drawn], y[drawn]
    if rank:
        x, y = (np.stack([weighted_ranks(column, w) for column in z.T], axis=1) for z in (x, y))
    return weighted_pearson(np.broadcast_to(x, y.shape).copy(), y, w[None])[0]
