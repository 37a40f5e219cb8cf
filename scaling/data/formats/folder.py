"""A folder a class, as torchvision's ImageFolder reads it: train/CLASS/*.jpg, and val, validation or test likewise."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import Rows, Split, chosen_names
from scaling.data.formats.walk import Walk, is_data
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

TRAIN, HELDOUT = "train", ("val", "validation", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's IMG_EXTENSIONS
EXPECTED = "train/CLASS/*.jpg"


def find_folder(root: Storage, spec: DatasetSpec) -> tuple[Split, Split] | None:
    """The chosen folders, or `train` and the first of `val`, `validation`, `test`; None: not both are there."""
    if not root.is_local:
        return None
    train, *heldout = (Path(root.root) / name for name in chosen_names(spec, TRAIN, HELDOUT))
    held_out = next((folder for folder in heldout if folder.is_dir()), None)
    if held_out is None or not train.is_dir():
        return None
    walk = Walk((train, held_out))
    return FolderSplit(train, walk), FolderSplit(held_out, walk)


class FolderSplit(Split):
    """Classes are the sorted names of the folders, images the sorted files below them, as torchvision has both.

    Hidden folders and files and SYSTEM's are passed over. Links are followed, and nothing is taken twice through them.

    Args:
        walk: over both splits; see `Walk`.

    Raises:
        StudyError: no folder of a class; once files are asked for, as `Walk.images`.
    """

    coded = True

    def __init__(self, folder: Path, walk: Walk) -> None:
        self.folder: Path = folder
        self._walk = walk
        with os.scandir(folder) as entries:
            self.classes = tuple(sorted(entry.name for entry in entries if is_data(entry.name) and entry.is_dir()))
        if not self.classes:
            raise StudyError(f"'{folder}' has no folder a class; sort its images into folders named by class")

    def __len__(self) -> int:
        return len(self.files)

    @property
    def files(self) -> list[tuple[str, int]]:
        """(path below the folder, label) of every image."""
        return self._walked[0]

    @cached_property
    def _walked(self) -> tuple[list[tuple[str, int]], str]:
        """The files, and a hash of their names, sizes and times."""
        files, digest = [], hashlib.sha256()
        for label, name in enumerate(self.classes):
            for folder, images in sorted(self._walk.images(self.folder / name, SUFFIXES)):
                below = os.path.relpath(folder, self.folder)
                files += [(f"{below}{os.sep}{image.name}", label) for image in images]
                digest.update(repr((os.fsencode(below), list(map(tuple, images)))).encode("utf-8", "surrogateescape"))
        return files, digest.hexdigest()

    def present(self) -> NDArray[np.int64]:
        there = np.bincount([label for _, label in self.files], minlength=len(self.classes)) > 0
        for label in np.flatnonzero(~there):
            raise StudyError(
                f"the folder of class '{self.classes[label]}' in '{self.folder}' holds no image "
                f"({', '.join(SUFFIXES)}); add some, or delete the folder"
            )
        return np.arange(len(self.classes))

    def fingerprint(self) -> list[Any]:
        """How many images there are, and a hash of their names, sizes and times; no file is opened."""
        files, digest = self._walked
        return [self.folder.name, len(files), digest]

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        for begin in range(start, len(self), size):
            part = self.files[begin : begin + size]
            labels = np.array([label for _, label in part], np.int64)
            yield Rows(
                [self.folder / path for path, _ in part], labels, [f"{self.folder.name}/{path}" for path, _ in part]
            )
