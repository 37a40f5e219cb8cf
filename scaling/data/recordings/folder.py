"""A published data set's files below the data directory, as they are where it was copied from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError


@dataclass(frozen=True)
class DataFolder:
    """name: of the data set. folder: below the data directory. original: where its files are published."""

    name: str
    folder: str
    original: str

    @property
    def remedy(self) -> str:
        return f"copy it from {self.original} to {self.folder}/ below the data directory"

    def path(self, data_dir: Path | None, *parts: str, is_folder: bool = False) -> Path:
        """A file or folder of it.

        Raises:
            StudyError: no data directory, or it is not there.
        """
        if data_dir is None:
            raise StudyError(f"{self.name}: no data directory; {self.remedy}")
        path = Path(data_dir, self.folder, *parts)
        if not (path.is_dir() if is_folder else path.is_file()):
            raise StudyError(f"{self.name}: {path} does not exist; {self.remedy}")
        return path

    def array(self, path: Path, shape: tuple[int | None, ...] | None = None) -> NDArray[Any]:
        """A .npy of a shape, None where a length is free.

        Raises:
            StudyError: no whole array, or of another shape.
        """
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise StudyError(f"{self.name}: {path} is no whole array: {error}; {self.remedy}") from error
        return self.shaped(path, values, shape)

    def shaped(self, path: Path, values: Any, shape: tuple[int | None, ...] | None) -> NDArray[Any]:
        """Values of a shape, or StudyError."""
        array = np.asarray(values)
        fits = shape is None or (
            array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        )
        if not fits or array.dtype.kind not in "iuf":
            raise StudyError(
                f"{self.name}: {path} holds {array.dtype} of shape {array.shape}, expected {shape}; {self.remedy}"
            )
        return array

    @contextmanager
    def hdf5(self, path: Path) -> Iterator[Any]:
        """An open HDF5 file (MATLAB 7.3's too).

        Raises:
            StudyError: a file that is none, damaged, or lacks what is read of it.
        """
        import h5py  # type: ignore[import-untyped]

        try:
            with h5py.File(path) as file:
                yield file
        except (OSError, KeyError, ValueError) as error:
            raise StudyError(f"{self.name}: {path} is not what is published: {error}; {self.remedy}") from error
