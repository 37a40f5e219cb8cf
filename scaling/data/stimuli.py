"""Stimuli: the images that a benchmark shows, with their ids and, where known, their category labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.errors import StudyError

MAX_HELDOUT_STIMULI = 300  # enough for ridge on half of them; assumption


@dataclass(frozen=True, eq=False)
class Stimuli:
    """Images of one stimulus set.

    Attributes:
        images: (n, height, width, 3) uint8. ids: n distinct stimulus ids. labels: (n,) category indices, or None.
        name: what the set is called in messages.
    """

    images: NDArray[np.uint8]
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    name: str

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise StudyError(
                f"stimuli {self.name!r}: {self.images.dtype} images of shape {shape}; give uint8 (n, height, width, 3)"
            )
        if len(self.ids) != len(self) or len(set(self.ids)) != len(self):
            raise StudyError(
                f"stimuli {self.name!r}: {len(set(self.ids))} distinct ids for {len(self)} images; give one id each"
            )
        if self.labels is not None and self.labels.shape != (len(self),):
            raise StudyError(
                f"stimuli {self.name!r}: labels of shape {self.labels.shape} for {len(self)} images; give one each"
            )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def key(self) -> str:
        """Content hash of the images, 16 hex digits: equal keys mean equal features, whatever ids and labels say."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()[:16]


def select_stimuli(
    images: ArrayLike, labels: ArrayLike, n: int = MAX_HELDOUT_STIMULI, seed: int = 0, name: str = "heldout"
) -> Stimuli:
    """At most `n` held-out images as Stimuli, the same number of each class (± 1), chosen by a seeded permutation.

    Args:
        images: (n_images, height, width), (…, 1) or (…, 3) uint8; grey images are repeated over three channels.
        labels: (n_images,) integer classes.

    Returns:
        Stimuli in the order of `images`; ids are positions in `images`.

    Raises:
        StudyError: labels that do not match the images, n below 1.
    """
    images, labels = _as_rgb(np.asarray(images), name), np.asarray(labels, dtype=np.int64)
    if labels.shape != (len(images),) or n < 1:
        raise StudyError(
            f"stimuli {name!r}: n={n} of {len(images)} images with labels of shape {labels.shape}; "
            "give one label an image and n of at least 1"
        )
    chosen = np.sort(_deal_by_class(labels, seed)[:n])
    return Stimuli(
        images=np.ascontiguousarray(images[chosen]),
        ids=tuple(f"{name}-{index}" for index in chosen),
        labels=labels[chosen],
        name=name,
    )


def _as_rgb(images: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise StudyError(f"stimuli {name!r}: images of shape {images.shape}; give (n, height, width[, 1 or 3])")
    return images if images.shape[-1] == 3 else np.repeat(images, 3, axis=-1)


def _deal_by_class(labels: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """All positions, ordered so that every prefix holds the classes as evenly as they last."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.intp)  # how many of the same class come before
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")]
