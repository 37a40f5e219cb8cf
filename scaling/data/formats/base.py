"""What every format gives: rows of one split, and what can be known of it without decoding."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError
from scaling.place import is_uri
from scaling.storage import Storage

Coded = bytes | Path | NDArray[Any] | None  # one image: its file's bytes, its file, or its pixels


@dataclass(frozen=True)
class Rows:
    """Consecutive images. `places` name them in messages; `maps` hold None where an image has none."""

    images: Sequence[Coded] | NDArray[np.uint8]
    labels: NDArray[np.int64]
    places: Sequence[str]
    maps: Sequence[Coded] | None = None

    def __len__(self) -> int:
        return len(self.places)


class Split(ABC):
    """Training or held-out images as a format keeps them.

    Attributes:
        classes: names by label, or () where the format has none. coded: images are coded files that can be decoded
        again each epoch. has_maps: images may have importance maps. map_dtype: of their values, uint8 or float32.
        folder: what paths among `Rows.images` lie below.
    """

    classes: tuple[str, ...] = ()
    coded = False
    has_maps = False
    map_dtype: np.dtype[Any] = np.dtype(np.uint8)
    folder: Path | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are; may list files."""

    @abstractmethod
    def present(self) -> NDArray[np.int64]:
        """The classes that have an image, ascending.

        Raises:
            StudyError: images without a label, a folder without images.
        """

    @abstractmethod
    def fingerprint(self) -> list[Any]:
        """Plain data that differ once the files do: names, sizes, times. It has to be quick."""

    @abstractmethod
    def rows(self, start: int, size: int) -> Iterator[Rows]:
        """All images from `start` on, in order, `size` at a time.

        Raises:
            StudyError: files that are damaged; an image that cannot be decoded is not noticed here.
        """


class LabelledFiles(Split):
    """A split of a few files that are all there is, its labels read at once.

    Attributes:
        files: all that its rows come from. labels: (n,) integers.
    """

    files: Sequence[Path]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def present(self) -> NDArray[np.int64]:
        return np.unique(self.labels)

    def fingerprint(self) -> list[Any]:
        return [file_stamp(file) for file in self.files]


class PlainSplit(Split):
    """Images that are arrays already.

    Args:
        images: (n, h, w, 3) uint8. labels: (n,) integers. name: for messages.
        maps: (n, h, w) float or uint8, all NaN for an image without one.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[Any],
        name: str,
        maps: NDArray[Any] | None = None,
        classes: tuple[str, ...] = (),
        fingerprint: Sequence[Any] = (),
    ) -> None:
        self.images, self.labels, self.name, self.maps = images, check_labels(labels, name), name, maps
        self.classes, self.has_maps = classes, maps is not None
        self.map_dtype = np.dtype(np.uint8) if maps is None else maps.dtype
        self._fingerprint = list(fingerprint)

    def __len__(self) -> int:
        return len(self.images)

    def present(self) -> NDArray[np.int64]:
        return np.unique(self.labels)

    def fingerprint(self) -> list[Any]:
        return self._fingerprint

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        for begin in range(start, len(self), size):
            part = slice(begin, min(begin + size, len(self)))
            places = [f"{self.name}, image {row}" for row in range(part.start, part.stop)]
            maps = None if self.maps is None else [none_if_empty(one) for one in self.maps[part]]
            yield Rows(self.images[part], self.labels[part], places, maps)


def none_if_empty(values: NDArray[Any]) -> NDArray[Any] | None:
    return None if values.dtype.kind == "f" and np.isnan(values).all() else values


def check_labels(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Labels as int64.

    Raises:
        StudyError: no labels at all, negative ones (Hugging Face's -1 marks unlabelled images).
    """
    if not len(labels):
        raise StudyError(f"'{where}' holds no images; correct dataset.path, or fetch it again")
    row = int(np.argmin(labels))
    if labels[row] < 0:
        raise StudyError(f"'{where}' has unlabelled images (label {labels[row]}, row {row}); use a labelled split")
    return labels.astype(np.int64)


def check_classes(train: Split, heldout: Split, dataset: str) -> None:
    """Refuse splits whose classes differ, by name where names are known, or by label.

    Raises:
        StudyError: names the classes that only one of them has, or the label whose name differs.
    """
    sides = (
        (train, heldout, "has training images and no held-out image"),
        (heldout, train, "of the held-out images has no training image"),
    )
    named = bool(train.classes and heldout.classes)
    for one, other, words in sides if named else ():
        _refuse_classes([name for name in one.classes if name not in set(other.classes)], words, dataset)
    for label, (name, other_name) in enumerate(zip(train.classes, heldout.classes, strict=True) if named else ()):
        if name != other_name:
            raise StudyError(
                f"label {label} is '{name}' in the training images and '{other_name}' in the held-out images (dataset "
                f"'{dataset}'); give both the same order of classes"
            )
    for one, other, words in sides:
        absent = np.setdiff1d(one.present(), other.present())
        names = [one.classes[label] if label < len(one.classes) else str(label) for label in absent]
        _refuse_classes(names, words, dataset)


def _refuse_classes(names: list[str], words: str, dataset: str) -> None:
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        many = f"class {shown}" if len(names) == 1 else f"classes {shown}: each"
        raise StudyError(f"{many} {words} (dataset '{dataset}'); correct the files")


def dataset_root(path: str, data_dir: Path) -> Storage:
    """A data set's folder: absolute, relative to the data folder, or a URI."""
    return Storage(path if is_uri(path) else data_dir / Path(path).expanduser())


def file_stamp(file: Path) -> list[Any]:
    """Name, bytes, time of change."""
    stat = os.stat(file)
    return [file.name, stat.st_size, stat.st_mtime_ns]
