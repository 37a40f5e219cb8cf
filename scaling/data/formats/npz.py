"""train.npz and test.npz: arrays `images`, `labels` and, if there are any, importance `maps` and names of `classes`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from scaling.data.formats.base import PlainSplit, Rows, Split, check_labels, chosen_names, file_stamp, first_labelled
from scaling.data.image_set import check_finite
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage, file_error

TRAIN, HELDOUT = "train", ("test", "validation", "val")
EXPECTED = "train.npz"


def find_npz(root: Storage, spec: DatasetSpec) -> tuple[Split, Split] | None:
    """The named files, or train.npz and the first labelled one of test.npz, validation.npz, val.npz; None: not both."""
    if not root.is_local:
        return None
    train, *heldout = chosen_names(spec, TRAIN, HELDOUT)
    files = [file for name in heldout if (file := Path(root.root) / f"{name}.npz").is_file()]
    first = Path(root.root) / f"{train}.npz"
    if not files or not first.is_file():
        return None
    return NpzSplit(first), first_labelled([partial(NpzSplit, file) for file in files])


class NpzSplit(Split):
    """One file; pixels are read when they are asked for.

    images: (n, h, w), (n, h, w, 1) or (n, h, w, 3) uint8. labels: (n,) integers. maps: (n, h, w) float or uint8, all
    NaN for an image without one. classes: names by label.

    Raises:
        StudyError: a file that is damaged, lacks an array or holds pickled ones; arrays that do not fit each other.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        headers = self._read(lambda archive: {name: _header(archive, name) for name in archive.files})
        for name in ("images", "labels"):
            if name not in headers:
                raise StudyError(f"'{file}' has no array '{name}'; it has {', '.join(headers) or 'none'}")
        _check_shapes(file, {name: shape for name, (shape, _) in headers.items()}, headers["images"][1])
        self.has_maps = "maps" in headers
        if self.has_maps and headers["maps"][1] != np.uint8:
            self.map_dtype = np.dtype(np.float32)
        names = self._read(lambda archive: archive["classes"]) if "classes" in headers else np.empty(0, str)
        if names.ndim != 1:
            raise StudyError(f"'{file}' has classes of shape {names.shape}; give one name a label, (C,)")
        self.classes = tuple(str(name) for name in names)
        self.labels = check_labels(self._read(lambda archive: archive["labels"]), str(file))

    def __len__(self) -> int:
        return len(self.labels)

    def present(self) -> NDArray[np.int64]:
        return np.unique(self.labels)

    def fingerprint(self) -> list[Any]:
        return [file_stamp(self.file)]

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        return self._plain.rows(start, size)

    @cached_property
    def _plain(self) -> PlainSplit:
        images = self._read(lambda archive: archive["images"])
        images = images[..., None] if images.ndim == 3 else images
        maps = self._read(lambda archive: archive["maps"]).astype(self.map_dtype) if self.has_maps else None
        if maps is not None:
            check_finite(maps)
        return PlainSplit(np.broadcast_to(images, (*images.shape[:3], 3)), self.labels, self.file.name, maps)

    def _read(self, use: Any) -> Any:
        try:
            with np.load(self.file, allow_pickle=False) as archive:
                return use(archive)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, OSError) and error.errno:  # of the disk
                raise file_error(self.file, error) from error
            raise StudyError(f"'{self.file}' is no whole npz of plain arrays ({error}); write it again") from error


def _header(archive: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """An array's shape and type, without its values."""
    with archive.zip.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
    return shape, dtype


def _check_shapes(file: Path, shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
    images, labels, maps = shapes["images"], shapes["labels"], shapes.get("maps")
    if dtype != np.uint8 or len(images) not in (3, 4) or images[3:] not in ((), (1,), (3,)):
        raise StudyError(f"'{file}' has {dtype} images of shape {images}; give uint8 (n, h, w), (n, h, w, 1 or 3)")
    if labels != images[:1]:
        raise StudyError(f"'{file}' has labels of shape {labels} for {images[0]:,} images; give one label an image")
    if maps is not None and maps[:1] != images[:1]:
        extra = "maps without an image" if maps[0] > images[0] else "images without a row of maps"
        raise StudyError(
            f"'{file}' has {maps[0]:,} maps for {images[0]:,} images, {abs(maps[0] - images[0]):,} {extra}; give every "
            "image one, filled with NaN where there is none"
        )
    if maps is not None and maps != images[:3]:
        raise StudyError(f"'{file}' has maps of {maps[1:]} pixels for images of {images[1:3]}; give both the same size")
