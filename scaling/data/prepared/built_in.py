"""Built-in sets as splits: loaded only where they are prepared, so that opening them again imports nothing."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import PlainSplit, Rows, Split
from scaling.data.image_set import ImageSet

BuiltIn = Callable[[int | None], tuple[ImageSet, ImageSet]]  # image_size -> training, held-out images


class BuiltInSplit(Split):
    """One of a built-in set's two splits. `load` gives both, once for the two."""

    def __init__(self, name: str, load: Callable[[], tuple[PlainSplit, PlainSplit]], position: int, stamp: str) -> None:
        self.name, self._load, self._position, self._stamp = name, load, position, stamp

    def __len__(self) -> int:
        return len(self._plain)

    def present(self) -> NDArray[np.int64]:
        return self._plain.present()

    def fingerprint(self) -> list[Any]:
        return [self.name, self._stamp]

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        return self._plain.rows(start, size)

    @property
    def has_maps(self) -> bool:  # type: ignore[override]
        return self._plain.has_maps

    @property
    def map_dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self._plain.map_dtype

    @property
    def _plain(self) -> PlainSplit:
        return self._load()[self._position]


def built_in_splits(name: str, build: BuiltIn, size: int | None) -> tuple[Split, Split]:
    """A built-in set's training and held-out images at `size` pixels; code that changes changes the stamp."""
    loaded: list[tuple[PlainSplit, PlainSplit]] = []

    def load() -> tuple[PlainSplit, PlainSplit]:
        if not loaded:
            train, heldout = (PlainSplit(one.images, one.labels, name, one.maps) for one in build(size))
            loaded.append((train, heldout))
        return loaded[0]

    stamp = hashlib.sha256(Path(inspect.getfile(build)).read_bytes()).hexdigest()[:16]
    return BuiltInSplit(name, load, 0, stamp), BuiltInSplit(name, load, 1, stamp)
