"""What all metrics share: checked arrays, blocks of columns in float64, Pearson's r, the floor of rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.errors import StudyError

Array = NDArray[np.float64]

# A spread smaller than this, relative to the mean square, is rounding of float32 features (resolution 6e-8), not
# signal. Assumption: no representation of interest carries its information in the last digit of float32.
VARIANCE_FLOOR = 1e-12

BLOCK_ELEMENTS = 2**22  # float64 working copy of the features: 32 MiB at a time


def as_matrix(features: ArrayLike) -> NDArray[np.floating]:
    """Features as (n_stimuli, n_features), floating point, refused when not finite or of fewer than 3 stimuli."""
    x = np.asarray(features)
    if x.ndim < 2 or len(x) < 3 or x.size == 0:
        raise StudyError(f"features of shape {x.shape}; give (n_stimuli, ...) with at least 3 stimuli, none empty")
    x = x.reshape(len(x), -1)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    check_finite(x)
    return x


def check_finite(x: NDArray[np.floating]) -> None:
    """Refuse features of a run that has diverged."""
    bad = int(x.size - np.count_nonzero(np.isfinite(x)))
    if bad:
        raise StudyError(
            f"features: {bad:,} of {x.size:,} values are NaN or infinite; score a run that has not diverged"
        )


def as_responses(responses: ArrayLike) -> Array:
    """Responses as finite float64 (n_stimuli, n_neuroids)."""
    y = np.asarray(responses, dtype=np.float64)
    if y.ndim != 2 or not np.isfinite(y).all():
        raise StudyError(
            f"responses of shape {y.shape} with {int((~np.isfinite(y)).sum())} values that are not finite; "
            "give finite (n_stimuli, n_neuroids)"
        )
    return y


def column_blocks(x: NDArray[np.floating]) -> Iterator[Array]:
    """Float64 copies of consecutive columns, bounded in memory whatever the width."""
    width = max(1, BLOCK_ELEMENTS // len(x))
    for start in range(0, x.shape[1], width):
        yield x[:, start : start + width].astype(np.float64)


def pearson(predicted: ArrayLike, target: ArrayLike) -> Array:
    """Pearson correlation column by column: (n, q), (n, q) → (q,).

    0 where the prediction is constant (it explains nothing), NaN where the target is (nothing to explain).
    """
    predicted, target = (np.asarray(x, dtype=np.float64) for x in (predicted, target))
    predicted, target = centre_columns(predicted), centre_columns(target)
    predicted_square, target_square = np.sum(predicted**2, axis=0), np.sum(target**2, axis=0)
    scale = np.sqrt(predicted_square) * np.sqrt(target_square)
    r = np.divide(np.sum(predicted * target, axis=0), scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(target_square > 0, np.clip(r, -1.0, 1.0), np.nan)


def mean_ranks(values: Array) -> Array:
    """Ranks 1 … n of (n,) values, ties sharing their mean rank; `scipy.stats.rankdata`, without its slow import."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts[:-1] + starts[1:] + 1) / 2, np.diff(starts))
    return ranks


def centre_columns(values: Array) -> Array:
    """Minus the column mean; a column that varies only by rounding becomes exactly zero."""
    centred = values - values.mean(axis=0)
    squares = np.sum(centred**2, axis=0)
    centred[:, squares <= VARIANCE_FLOOR**2 * np.sum(values**2, axis=0)] = 0.0
    return centred
