"""A layer's output as maps over positions of an image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.errors import StudyError

MAX_EXTRA_TOKENS = 8  # class and register tokens before the patches; assumption


def feature_maps(activations: ArrayLike) -> NDArray[np.floating]:
    """A layer's output as maps, channels last: (n, channels, height, width) or (n, tokens, channels).

    Tokens are a square of patches, row by row, perhaps behind one or more others (class, registers), which go. A
    layer that puts its channels last already is known by its square maps: (n, size, size, channels).

    Raises:
        StudyError: another number of axes, tokens that hold no square of patches.
    """
    values = np.asarray(activations)
    if values.ndim == 4:
        _, first, second, third = values.shape
        return values if first == second != third else np.moveaxis(values, 1, -1)
    side = math.isqrt(values.shape[1]) if values.ndim == 3 else 0
    n_extra = values.shape[1] - side**2 if side > 1 else MAX_EXTRA_TOKENS + 1
    if n_extra > MAX_EXTRA_TOKENS:
        raise StudyError(
            f"feature maps: output of shape {values.shape}; choose a layer of (n, channels, height, width) or "
            f"(n, tokens, channels) with a square of patches behind at most {MAX_EXTRA_TOKENS} other tokens"
        )
    return values[:, n_extra:].reshape(len(values), side, side, -1)


def has_maps(shape: tuple[int, ...]) -> bool:
    """Whether `feature_maps` finds more than one location in a layer's output of this shape for one image."""
    try:
        maps = feature_maps(np.broadcast_to(0.0, (1, *shape)))
    except StudyError:
        return False
    return max(maps.shape[1:3]) > 1
