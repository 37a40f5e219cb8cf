"""Labelled images as arrays: what a run trains on and is measured on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scaling.errors import StudyError


@dataclass(frozen=True)
class ImageSet:
    """Square images (n, size, size, 3) uint8 with labels (n,) int64; arrays are read-only views.

    `images` is an array in memory or in a mapped file, or decodes when it is indexed (`coded.CodedImages`).
    maps: (n, size, size) float importance maps, all NaN for an image without one; None: no image has one.

    Raises:
        StudyError: maps that are not those of the images, or a map with some pixels that are not finite.
    """

    images: Any
    labels: np.ndarray
    maps: Any = None

    def __post_init__(self) -> None:
        if self.maps is not None and self.maps.shape != self.images.shape[:3]:
            raise StudyError(
                f"maps of shape {self.maps.shape} beside images of {self.images.shape[:3]}; give every image its map, "
                "or NaN"
            )
        if isinstance(self.maps, np.ndarray):
            check_finite(self.maps)
        for array in (self.images, self.labels, self.maps):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set: training and held-out images, and the training images' channel statistics in [0, 1].

    Training images may be larger than held-out ones: random crops are taken from them.
    classes: their names by label, where the files tell. skipped: images left out, as 'file, row: reason'.
    """

    name: str
    train: ImageSet
    heldout: ImageSet
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Pixels a side that a model sees: the held-out images'."""
        return int(self.heldout.images.shape[1])

    @property
    def n_classes(self) -> int:
        return int(max(self.train.labels.max(), self.heldout.labels.max())) + 1

    def digest(self) -> str:
        """SHA-256 of labels, shapes and channel statistics: equal wherever the same images are read."""
        digest = hashlib.sha256(self.train.labels.tobytes() + self.heldout.labels.tobytes())
        shapes = tuple(map(int, self.train.images.shape)), tuple(map(int, self.heldout.images.shape))
        digest.update(repr((*shapes, self.mean, self.std)).encode())
        return digest.hexdigest()

    def mark(self) -> dict[str, Any]:
        """What tells a study's images from others, as plain values."""
        mark: dict[str, Any] = {"dataset": self.name, "n_train": len(self.train), "n_heldout": len(self.heldout)}
        mark["sha256"] = self.digest()
        if self.skipped:
            mark["skipped"] = [place.partition(": ")[0] for place in self.skipped]
        return mark


class SparseMaps:
    """Importance maps of some of the images, as an array of all: (n, size, size) float32, NaN where there is none.

    Args:
        values: (m, size, size) of those that have one; uint8 stands for [0, 1].
        place: (n,) each image's row in `values`, or -1.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, values: Any, place: NDArray[np.int64]) -> None:
        self.values, self.place = values, place
        self.shape = (len(place), *values.shape[1:])

    def __len__(self) -> int:
        return len(self.place)

    def there(self, index: Any) -> NDArray[np.bool_]:
        """Which of some images have a map."""
        return self.place[index] >= 0

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        """The maps of some images; further indices choose their pixels, as in `maps[images, 0, 0]`."""
        images, *pixels = index if isinstance(index, tuple) else (index,)
        place = self.place[images]
        if np.ndim(place) == 0:
            return self[(np.array([images]), *pixels)][0]
        there = place >= 0
        found = as_map(self.values[place[there]])[(slice(None), *pixels)]
        chosen = np.full((len(place), *found.shape[1:]), np.nan, np.float32)
        chosen[there] = found
        return chosen


def as_map(values: NDArray[Any]) -> NDArray[np.float32]:
    """Map values as float32; 8-bit ones are scaled to [0, 1]."""
    scale = 255 if values.dtype == np.uint8 else 1
    return values.astype(np.float32) / np.float32(scale)


def check_finite(maps: NDArray[Any]) -> None:
    """Refuse a map with some pixels that are not finite; one of NaN alone stands for none."""
    finite = np.isfinite(maps).reshape(len(maps), -1)
    infinite = np.isinf(maps).reshape(len(maps), -1).any(1)
    for image in np.flatnonzero((finite.any(1) != finite.all(1)) | infinite):
        raise StudyError(f"the map of image {image} has pixels that are not finite; correct it, or fill it with NaN")


def channel_statistics(counts: NDArray[np.int64]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation a channel on the [0, 1] scale, from exact counts (3, 256) of the levels."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in counts:
        share = channel / channel.sum()
        centre = float(share @ levels)
        mean.append(centre)
        std.append(max(float(np.sqrt(share @ (levels - centre) ** 2)), 1e-3))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def level_counts(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(3, 256) how often each level comes in each channel of (n, size, size, 3) images."""
    if not images.size:
        return np.zeros((3, 256), np.int64)
    tall = Image.fromarray(images.reshape(-1, *images.shape[2:]))  # whose histogram takes a fifth of NumPy's time
    return np.array(tall.histogram(), np.int64).reshape(3, 256)


def has_map(maps: Any, index: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of some images have a map; nothing is decoded. maps: as in ImageSet, and not None."""
    return np.isfinite(maps[index, 0, 0]) if isinstance(maps, np.ndarray) else maps.there(index)
