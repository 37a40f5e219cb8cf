"""What every format gives: rows of one split, and what can be known of it without decoding."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError
from scaling.place import is_uri
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

Coded = bytes | Path | NDArray[Any] | None  # one image: its file's bytes, its file, or its pixels


USE_LABELLED = "use a labelled split (dataset.train_split, dataset.heldout_split)"


class Unlabelled(StudyError):
    """A split without any label, as published test splits are."""


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
        StudyError: no labels at all, text or fractions, negative ones (Hugging Face's -1 marks unlabelled images).
        Unlabelled: all are negative.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise StudyError(
            f"'{where}' has labels of type {labels.dtype} and shape {labels.shape}, such as "
            f"{labels.ravel()[:1].tolist()}; give each image one integer, 0 … C - 1 for C classes"
        )
    if not len(labels):
        raise StudyError(f"'{where}' holds no images; correct dataset.path, or fetch it again")
    values = labels.astype(np.int64)
    row = int(np.argmin(values))
    if values[row] < 0:
        kind = Unlabelled if values.max() < 0 else StudyError
        raise kind(f"'{where}' has unlabelled images (label {values[row]}, row {row}); {USE_LABELLED}")
    return values


def chosen_names(spec: DatasetSpec, train: str, heldout: tuple[str, ...]) -> tuple[str, ...]:
    """The training split's name, and those that may be held out: what the study chose, else the format's."""
    first = spec.train_split or train
    return first, *(name for name in ((spec.heldout_split,) if spec.heldout_split else heldout) if name != first)


def first_labelled(splits: Sequence[Callable[[], Split]]) -> Split:
    """The first split that has labels, of those that may be held out; each is opened when its turn comes.

    Raises:
        Unlabelled: none has. StudyError: as opening it.
    """
    for open_split in splits[:-1]:
        try:
            return open_split()
        except Unlabelled:
            continue
    return splits[-1]()


def check_classes(train: Split, heldout: Split, dataset: str) -> None:
    """Refuse splits whose classes differ, by name where names are known, or by label, and labels not 0 … C - 1.

    Raises:
        StudyError: names the classes that only one of them has, the label whose name differs, or the one too high.
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
    _refuse_gaps(train.present(), train.classes or heldout.classes, dataset)


def _refuse_gaps(present: NDArray[np.int64], names: tuple[str, ...], dataset: str) -> None:
    """Labels that are not 0 … C - 1: of C classes present, or of C names, some of which may have no image."""
    limit = len(names) or len(present)
    if not len(present) or present[-1] < limit:
        return
    held = f"{limit:,} names of classes"
    if not names:
        absent = int(np.flatnonzero(present != np.arange(limit))[0])
        held = f"{limit:,} classes, and no image of label {absent}"
    raise StudyError(
        f"label {present[-1]} is beyond {limit - 1}: dataset '{dataset}' has {held}; number the classes 0 … {limit - 1}"
    )


def _refuse_classes(names: list[str], words: str, dataset: str) -> None:
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        many = f"class {shown}" if len(names) == 1 else f"classes {shown}: each"
        raise StudyError(f"{many} {words} (dataset '{dataset}'); correct the files")


def refuse_several(paths: Sequence[str], root: Storage) -> None:
    """Refuse a place that holds several sets, of which none is to be taken unasked."""
    if len(paths) > 1:
        there = " and ".join(f"'{path}'" for path in paths)
        raise StudyError(f"'{root.root}' holds several sets ({there}); set dataset.path to the folder of one")


def dataset_root(path: str, data_dir: Path) -> Storage:
    """A data set's folder: absolute, relative to the data folder, or a URI.

    Raises:
        StudyError: a file, the home of an unknown user, a place that pyarrow cannot open.
    """
    given = path if is_uri(path) else os.path.expanduser(path)
    if given.startswith("~"):
        raise StudyError(f"dataset.path='{path}' names a user without a home here; give the path itself")
    root = Storage(given if is_uri(path) else data_dir / given)
    if root.is_local and os.path.isfile(root.root):
        raise StudyError(f"dataset.path='{path}' is a file; give the folder that holds it and the other split")
    return root


def file_stamp(file: Path) -> list[Any]:
    """Name, bytes, times of change: of the content as it was set, and as the system saw it, which nobody can set."""
    stat = os.stat(file)
    return [file.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
