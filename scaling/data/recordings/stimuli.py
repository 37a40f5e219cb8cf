"""Stimuli: the images that a benchmark shows, with their ids and, where known, their category labels.

`Stimuli` holds the images in memory; `StimulusFiles` reads them from a folder or a zip when they are shown. Both have
`ids`, `labels`, `name`, `key`, `len()` and `batches()`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.data.archives import Images, open_images
from scaling.data.recordings.visual_angle import place
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
        _check_ids(self.name, self.ids, self.labels, len(self))

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def key(self) -> str:
        """Content hash of the images, 16 hex digits: equal keys mean equal features, whatever ids and labels say."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()[:16]

    def batches(self, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Consecutive (at most batch_size, height, width, 3) views, all images once and in order."""
        for start in _starts(self.name, len(self), batch_size):
            yield self.images[start : start + batch_size]


@dataclass(frozen=True, eq=False)
class StimulusFiles:
    """Images of one stimulus set, decoded and placed on the screen batch by batch; a small object to send around.

    Attributes:
        source: folder or zip of the images; it has to be readable wherever the stimuli are shown.
        filenames: n files in it. ids: n distinct stimulus ids. labels: (n,) category indices, or None.
        name: what the set is called in messages. ratio: placement on the screen, from `placement_ratio`.

    Raises:
        StudyError: at construction, ids or labels that do not fit, a source that is damaged or lacks a file.
    """

    source: Path
    filenames: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    name: str
    ratio: float = 1.0

    def __post_init__(self) -> None:
        _check_ids(self.name, self.ids, self.labels, len(self))
        if not self.filenames:
            raise StudyError(f"stimuli {self.name!r}: no images; give at least one")
        with open_images(self.source) as images:
            for filename in self.filenames:
                images.find(filename)

    def __len__(self) -> int:
        return len(self.filenames)

    @cached_property
    def key(self) -> str:
        """Content hash of the images as shown, 16 hex digits: of their coded bytes, their order and the placement.

        Equal keys mean equal features. The same pixels in another coding, or in memory, have another key.
        """
        with open_images(self.source) as images:
            coded = images.digest(self.filenames)
        return hashlib.sha256(f"files {coded} {self.ratio!r}".encode()).hexdigest()[:16]

    def batches(self, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Consecutive (at most batch_size, height, width, 3) arrays, all images once and in order.

        Raises:
            StudyError: an image that cannot be decoded or has not the size of the first one; names the file.
        """
        shape: tuple[int, ...] | None = None
        with open_images(self.source) as images:
            for start in _starts(self.name, len(self), batch_size):
                batch = [self._image(images, filename) for filename in self.filenames[start : start + batch_size]]
                shape = shape or batch[0].shape
                for filename, image in zip(self.filenames[start:], batch, strict=False):
                    self._check_shape(filename, image.shape, shape)
                yield np.stack(batch)

    def _image(self, images: Images, filename: str) -> NDArray[np.uint8]:
        return place(images.image(filename), self.ratio)

    def _check_shape(self, filename: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            raise StudyError(
                f"stimuli {self.name!r}: {filename} shows {shape[0]} × {shape[1]} pixels, {self.filenames[0]} "
                f"{expected[0]} × {expected[1]} ({self.source}); give images of one size"
            )


StimulusSet = Stimuli | StimulusFiles


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
    chosen = choose_balanced(labels, n, seed)
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


def choose_balanced(labels: NDArray[np.int64], n: int, seed: int = 0) -> NDArray[np.intp]:
    """Positions of at most `n` labels, the same number of each class (± 1), ascending; see `select_stimuli`."""
    return np.sort(_deal_by_class(labels, seed)[:n])


def _deal_by_class(labels: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """All positions, ordered so that every prefix holds the classes as evenly as they last."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.intp)  # how many of the same class come before
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")]


def _check_ids(name: str, ids: tuple[str, ...], labels: NDArray[np.int64] | None, n: int) -> None:
    if len(ids) != n or len(set(ids)) != n:
        raise StudyError(f"stimuli {name!r}: {len(set(ids))} distinct ids for {n} images; give one id each")
    if labels is not None and labels.shape != (n,):
        raise StudyError(f"stimuli {name!r}: labels of shape {labels.shape} for {n} images; give one each")


def _starts(name: str, n: int, batch_size: int) -> range:
    if batch_size < 1:
        raise StudyError(f"stimuli {name!r}: batches of {batch_size} images; give at least 1")
    return range(0, n, batch_size)
