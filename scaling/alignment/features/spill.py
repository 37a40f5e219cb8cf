"""ColumnRange of features that arrive by rows and leave by blocks of columns: kept in memory, or spilled to a file.

The file is written and read by position, not mapped: pages of a mapping count as resident until the kernel takes them
back, so a map's peak can be as large as the file, and a full disk kills the process by SIGBUS. What `pwrite` and
`preadv` touch lies in the page cache, which is nobody's memory, and a full disk is an error with a message.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scaling.errors import StudyError

_READ_AHEAD = 4  # blocks that the kernel is asked to fetch while one is being used; assumption


class ColumnStore(Protocol):
    """An (n_rows, sum of widths) matrix in blocks of columns."""

    def put(self, row: int, block: int, values: NDArray[np.floating]) -> None:
        """Set (k, width) values of a block from a row on."""

    def take(self, block: int) -> NDArray[np.floating]:
        """The (n_rows, width) block, for the caller to keep; the store forgets it where that frees memory."""


@contextmanager
def open_columns(
    n_rows: int,
    widths: Sequence[int],
    dtype: DTypeLike,
    folder: str | None = None,
    in_memory: bool = False,
    buffer_bytes: int = 0,
) -> Iterator[ColumnStore]:
    """A store for as long as the context lasts.

    Args:
        n_rows: rows. widths: columns of each block. dtype: of the values. buffer_bytes: rows that wait in memory
            until a longer stretch of each block can be written; halves the time where a batch has few rows.
        folder: where the file lies; None: where temporary files go (`TMPDIR`, else /tmp; where that is a disk of
            memory, name another). in_memory: no file at all.

    Raises:
        StudyError: the folder cannot be written, or its disk has too little space.
    """
    if in_memory:
        yield _Memory(n_rows, widths, np.dtype(dtype))
        return
    with _unlinked_file(n_rows * sum(widths) * np.dtype(dtype).itemsize, folder or tempfile.gettempdir()) as file:
        yield _File(file, n_rows, widths, np.dtype(dtype), buffer_bytes)


class _Memory:
    """Blocks as arrays."""

    def __init__(self, n_rows: int, widths: Sequence[int], dtype: np.dtype) -> None:
        self._blocks: list[NDArray | None] = [np.empty((n_rows, width), dtype) for width in widths]

    def put(self, row: int, block: int, values: NDArray[np.floating]) -> None:
        store = self._blocks[block]
        assert store is not None, f"block {block} is taken"
        store[row : row + len(values)] = values

    def take(self, block: int) -> NDArray[np.floating]:
        taken, self._blocks[block] = self._blocks[block], None
        assert taken is not None, f"block {block} is taken"
        return taken


class _File:
    """Blocks one after the other in a file, each row by row: rows of a block are written and the block read at once."""

    def __init__(self, file: int, n_rows: int, widths: Sequence[int], dtype: np.dtype, buffer_bytes: int) -> None:
        self._file, self._n_rows, self._widths, self._dtype = file, n_rows, list(widths), dtype
        self._starts = np.cumsum([0, *widths]) * n_rows * dtype.itemsize
        self._waiting: dict[int, tuple[int, list[NDArray]]] = {}  # block -> first row, consecutive rows
        self._room, self._buffer_bytes = buffer_bytes, buffer_bytes

    def put(self, row: int, block: int, values: NDArray[np.floating]) -> None:
        first, parts = self._waiting.get(block, (row, []))
        if row != first + sum(map(len, parts)):
            self._flush()
            first, parts = row, []
        parts.append(np.array(values, self._dtype, order="C"))
        self._waiting[block] = first, parts
        self._room -= parts[-1].nbytes
        if self._room < 0:
            self._flush()

    def _flush(self) -> None:
        for block, (row, parts) in self._waiting.items():
            offset = int(self._starts[block]) + row * self._widths[block] * self._dtype.itemsize
            _write(self._file, np.concatenate(parts).data.cast("B"), offset)
        self._waiting, self._room = {}, self._buffer_bytes

    def take(self, block: int) -> NDArray[np.floating]:
        self._flush()
        values = np.empty((self._n_rows, self._widths[block]), self._dtype)
        start, ahead = int(self._starts[block]), int(self._starts[min(block + 1 + _READ_AHEAD, len(self._widths))])
        os.posix_fadvise(self._file, start, ahead - start, os.POSIX_FADV_WILLNEED)
        _read(self._file, values.data.cast("B"), start)
        return values


@contextmanager
def _unlinked_file(n_bytes: int, folder: str) -> Iterator[int]:
    """A file of n_bytes that has no name, so that nothing is left of it after a crash; its space is reserved."""
    try:
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
    except OSError as error:
        raise StudyError(
            f"spill folder '{folder}' cannot be written ({error}); name another or spill nothing (spill_gb: 0)"
        ) from error
    with file:
        _reserve(file.fileno(), n_bytes, folder)
        yield file.fileno()


def _reserve(file: int, n_bytes: int, folder: str) -> None:
    disk = os.fstatvfs(file)
    free = disk.f_bavail * disk.f_frsize
    remedy = "free some, name another spill_folder, or lower spill_gb"
    if n_bytes > free:
        raise StudyError(f"spill: {n_bytes:,} bytes do not fit the {free:,} free in '{folder}'; {remedy}")
    try:
        os.posix_fallocate(file, 0, n_bytes)
    except OSError as error:  # quotas and disks that promise more than they hold
        raise StudyError(
            f"spill: {n_bytes:,} bytes cannot be reserved in '{folder}', which says {free:,} are free ({error}); "
            f"{remedy}"
        ) from error


def _write(file: int, content: memoryview, offset: int) -> None:
    """All of `content`, however many calls the system needs for it."""
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


def _read(file: int, content: memoryview, offset: int) -> None:
    done = 0
    while done < len(content):
        count = os.preadv(file, [content[done:]], offset + done)
        if count == 0:
            raise EOFError(f"spill: file ends {len(content) - done:,} bytes early at {offset + done:,}")
        done += count
