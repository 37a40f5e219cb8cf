"""Images that are decoded each time they are asked for, from one flat file of coded bytes or from a folder's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import Coded
from scaling.data.image_set import as_map
from scaling.data.prepared.journal import block_file
from scaling.data.prepared.pixels import CorruptImage, Square, decode_map, decode_square, size_of
from scaling.data.prepared.prepare import n_threads
from scaling.errors import StudyError


class CodedFiles:
    """Coded images of a prepared split: `folder/stem.coded` with their ends, and maps likewise. It pickles as paths.

    Args:
        below: where the paths lie that `stem.coded` holds; None: it holds the images themselves.
    """

    def __init__(self, folder: Path, stem: str, n: int, square: Square, below: Path | None) -> None:
        self.arguments = folder, stem, n, square, below
        self.n, self.square, self.below, self.where = n, square, below, folder / stem
        self._images = _Flat(folder, stem, "coded", "ends")
        self._maps = _Flat(folder, stem, "coded_maps", "map_ends")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments

    def image(self, row: int) -> NDArray[np.uint8]:
        """(crop, crop, 3), as it would be in the decoded array."""
        return self._decode(row, lambda coded, place: decode_square(coded, self.square, place))

    def has_map(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of some images have a map."""
        ends = self._maps.ends
        return ends[rows] > np.where(rows > 0, ends[rows - 1], 0)

    def map(self, row: int) -> NDArray[np.float32]:
        """(crop, crop), NaN for an image without a map."""
        coded_map = self._maps[row]
        if not coded_map:
            return np.full((self.square.crop, self.square.crop), np.nan, np.float32)
        uint8 = np.dtype(np.uint8)
        return as_map(
            self._decode(row, lambda coded, place: decode_map(coded_map, self.square, size_of(coded), place, uint8))
        )

    def _decode(self, row: int, decode: Callable[[Coded, str], NDArray[Any]]) -> NDArray[Any]:
        coded = self._images[row]
        place = f"image {row} of '{self.where}'" if self.below is None else str(self.below / os.fsdecode(coded))
        try:
            return decode(coded if self.below is None else Path(place), place)
        except CorruptImage as error:
            raise StudyError(
                f"image cannot be decoded any more ({place}: {error}); restore it, or delete the folder "
                f"'{self.where.parent}' to begin anew"
            ) from error


class CodedImages:
    """The images of CodedFiles as an array (n, crop, crop, 3) uint8; an index decodes, in threads.

    It takes what an array takes along the first axis: integers, slices, arrays of integers or booleans.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, files: CodedFiles) -> None:
        self.files = files
        self.shape = (files.n, files.square.crop, files.square.crop, 3)

    def __len__(self) -> int:
        return self.files.n

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        return _each(self.files.image, np.arange(len(self))[index], self.shape[1:], self.dtype)


class CodedMaps:
    """The maps of CodedFiles as an array (n, crop, crop) float32, NaN for images without; see CodedImages."""

    dtype = np.dtype(np.float32)

    def __init__(self, files: CodedFiles) -> None:
        self.files = files
        self.shape = (files.n, files.square.crop, files.square.crop)

    def __len__(self) -> int:
        return self.files.n

    def there(self, index: Any) -> NDArray[np.bool_]:
        """Which of some images have a map."""
        return self.files.has_map(np.arange(len(self))[index])

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        images, *pixels = index if isinstance(index, tuple) else (index,)
        rows = np.arange(len(self))[images]
        found = _each(self.files.map, rows, self.shape[1:], self.dtype)
        return found[(slice(None),) * rows.ndim + tuple(pixels)]


class _Flat:
    """Byte strings behind each other in one mapped file, and where each ends."""

    def __init__(self, folder: Path, stem: str, name: str, ends: str) -> None:
        self.bytes, self.ends = (
            np.memmap(path, dtype, "r") if path.is_file() and path.stat().st_size else np.empty(0, dtype)
            for path, dtype in ((block_file(folder, stem, name), np.uint8), (block_file(folder, stem, ends), np.int64))
        )

    def __getitem__(self, row: int) -> bytes:
        begin = 0 if row == 0 else int(self.ends[row - 1])
        return self.bytes[begin : int(self.ends[row])].tobytes()


def _each(decode: Callable[[int], NDArray[Any]], rows: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    if np.ndim(rows) == 0:
        return decode(int(rows))
    found = np.empty((len(rows), *shape), dtype)

    def fill(position: int) -> None:
        found[position] = decode(int(rows[position]))

    for _ in _pool(os.getpid()).map(fill, range(len(rows))):
        pass
    return found


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """This process's threads; a forked one has none of its parent's."""
    return ThreadPoolExecutor(n_threads())
