"""Flat files that grow together block by block, and a journal that says what of them is whole."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError

BlockEntry = dict[str, Any]  # a journal's line: what the writer says of the block, and `bytes` and `crc32` by file


class BlockWriter:
    """Appends blocks to the files `stem.NAME` of a folder; killed at any moment, it goes on after the last whole one.

    A block counts once its line is in `stem.journal`. Opening compares every block with its checksum, keeps the whole
    ones, and cuts off what follows.

    Args:
        names: of the files. source: plain data; a journal of another source is not continued.

    Attributes:
        blocks: what is whole, in order. n_bytes: of each file.
    """

    def __init__(self, folder: Path, stem: str, names: tuple[str, ...], source: Any) -> None:
        self.folder, self.stem, self.names = folder, stem, names
        self._journal = folder / f"{stem}.journal"
        self.blocks = whole_blocks(folder, stem, self._read_journal(source))
        self.n_bytes = {name: sum(block["bytes"][name] for block in self.blocks) for name in names}
        self._stack = ExitStack()
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> BlockWriter:
        for name in self.names:
            file = self._stack.enter_context(block_file(self.folder, self.stem, name).open("ab"))
            file.truncate(self.n_bytes[name])
            self._files[name] = file
        lines = [json.dumps(line) for line in (self._source, *self.blocks)]
        write_whole(self._journal, "".join(f"{line}\n" for line in lines))
        self._log = self._stack.enter_context(self._journal.open("a"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def append(self, parts: Mapping[str, NDArray[Any] | bytes], **says: Any) -> None:
        """Add one block: what each file gets, and what is said of it."""
        views = {name: _bytes(parts[name]) for name in self.names}
        block: BlockEntry = says | {
            "bytes": {name: len(view) for name, view in views.items()},
            "crc32": {name: zlib.crc32(view) for name, view in views.items()},
        }
        for name, view in views.items():
            self._files[name].write(view)
            self._files[name].flush()
            self.n_bytes[name] += len(view)
        self._log.write(json.dumps(block) + "\n")
        self._log.flush()
        self.blocks.append(block)

    def finish(self) -> None:
        """Everything on the disk."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def _read_journal(self, source: Any) -> list[BlockEntry]:
        self._source = {"source": json.loads(json.dumps(source))}
        try:
            first, *lines = self._journal.read_text().splitlines()
            if json.loads(first) != self._source:
                return []
        except (OSError, ValueError):
            return []
        blocks = []
        for line in lines:
            try:
                blocks.append(json.loads(line))
            except ValueError:  # the line that was being written
                break
        return blocks


def _bytes(part: NDArray[Any] | bytes) -> memoryview | bytes:
    if isinstance(part, bytes) or not part.size:
        return part if isinstance(part, bytes) else b""
    return np.ascontiguousarray(part).data.cast("B")


def write_whole(file: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, file)


def block_file(folder: Path, stem: str, name: str) -> Path:
    return folder / f"{stem}.{name}"


def whole_blocks(folder: Path, stem: str, blocks: list[BlockEntry]) -> list[BlockEntry]:
    """The blocks before the first whose bytes are not those that were written."""
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for position, block in enumerate(blocks):
            for name, crc in block["crc32"].items():
                path = block_file(folder, stem, name)
                if name not in files and path.is_file():
                    files[name] = stack.enter_context(path.open("rb"))
                if name not in files or zlib.crc32(files[name].read(block["bytes"][name])) != crc:
                    return blocks[:position]
    return list(blocks)


def check_blocks(folder: Path, stem: str, blocks: list[BlockEntry]) -> None:
    """Compare every block with its checksum.

    Raises:
        StudyError: names the first that differs.
    """
    n_whole = len(whole_blocks(folder, stem, blocks))
    if n_whole < len(blocks):
        raise StudyError(
            f"block {n_whole} of {len(blocks)} of '{folder / stem}.*' is damaged (checksum); delete the folder: the "
            "next use decodes it again"
        )


def sizes_fit(folder: Path, stem: str, blocks: list[BlockEntry]) -> bool:
    """Whether every file has the bytes of its blocks."""
    names = blocks[0]["bytes"] if blocks else {}
    return all(
        block_file(folder, stem, name).is_file()
        and block_file(folder, stem, name).stat().st_size == sum(block["bytes"][name] for block in blocks)
        for name in names
    )
