"""A folder a class, as torchvision's ImageFolder reads it: train/CLASS/*.jpg, and val, validation or test likewise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import Rows, Split
from scaling.errors import StudyError
from scaling.storage import Storage

TRAIN, HELDOUT = "train", ("val", "validation", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's IMG_EXTENSIONS
EXPECTED = "train/CLASS/*.jpg"


def find_folder(root: Storage) -> tuple[Split, Split] | None:
    """The folder `train` and the first of `val`, `validation`, `test`; None: not both are there."""
    base = Path(root.root)
    heldout = next((base / name for name in HELDOUT if (base / name).is_dir()), None) if root.is_local else None
    return (FolderSplit(base / TRAIN), FolderSplit(heldout)) if heldout and (base / TRAIN).is_dir() else None


class FolderSplit(Split):
    """Classes are the sorted names of the folders, images the sorted files below them, as torchvision has both.

    Raises:
        StudyError: no folder of a class.
    """

    coded = True

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder
        self.classes = tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()))
        if not self.classes:
            raise StudyError(f"'{folder}' has no folder a class; sort its images into folders named by class")

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def files(self) -> list[tuple[str, int]]:
        """(path below the folder, label) of every image."""
        return [(path, label) for label, name in enumerate(self.classes) for path in sorted_images(self.folder, name)]

    def present(self) -> NDArray[np.int64]:
        for name in self.classes:
            if next(_images(self.folder, name), None) is None:
                raise StudyError(
                    f"the folder of class '{name}' in '{self.folder}' holds no image ({', '.join(SUFFIXES)}); add "
                    "some, or delete the folder"
                )
        return np.arange(len(self.classes))

    def fingerprint(self) -> list[Any]:
        """Folders' times of change show files that came or went; one written over in its place they do not."""
        return [[name, os.stat(self.folder / name).st_mtime_ns] for name in self.classes]

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        for begin in range(start, len(self), size):
            part = self.files[begin : begin + size]
            labels = np.array([label for _, label in part], np.int64)
            yield Rows(
                [self.folder / path for path, _ in part], labels, [f"{self.folder.name}/{path}" for path, _ in part]
            )


def sorted_images(folder: Path, name: str) -> list[str]:
    """A class's images, by folder and then by name: torchvision's order."""
    return [path for walked in sorted(os.walk(folder / name, followlinks=True)) for path in _named(folder, walked)]


def _images(folder: Path, name: str) -> Iterator[str]:
    for walked in os.walk(folder / name, followlinks=True):
        yield from _named(folder, walked)


def _named(folder: Path, walked: tuple[str, list[str], list[str]]) -> list[str]:
    """The images directly in a walked folder, as paths below `folder`."""
    below = os.path.relpath(walked[0], folder)
    return [os.path.join(below, file) for file in sorted(walked[2]) if file.lower().endswith(SUFFIXES)]
