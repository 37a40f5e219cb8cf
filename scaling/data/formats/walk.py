"""The images below some folders, each once, whatever links there are, with what changes when a file does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from scaling.errors import StudyError

# Folders that systems make beside people's own; those that begin with a dot, such as .ipynb_checkpoints, are hidden.
SYSTEM = ("__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")


class Found(NamedTuple):
    """An image's name, its bytes, and its times of change: as it was set, and as the system saw it."""

    name: str
    size: int
    changed_ns: int
    seen_changed_ns: int


class Walk:
    """A walk over several folders, such as a data set's splits, that comes to nothing twice.

    Links are followed, to folders and to files elsewhere; where several lead to one file elsewhere, as in stores that
    keep equal files once, each counts. Hidden files and folders and SYSTEM's are passed over.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._roots = [os.path.realpath(folder) for folder in folders]
        self._folders: dict[tuple[int, int], str] = {}  # by device and number, however they are reached
        self._real: dict[str, str] = {}
        for folder in folders:
            self._enter(str(folder))

    def images(self, folder: Path | str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, list[Found]]]:
        """A folder and those below it, each with its images by name.

        Raises:
            StudyError: a link that leads to what is walked anyway. OSError: a folder that cannot be read.
        """
        self._enter(str(folder))
        with os.scandir(folder) as entries:
            data = sorted((entry for entry in entries if is_data(entry.name)), key=lambda entry: entry.name)
        folders = [entry.path for entry in data if entry.is_dir()]
        yield (
            str(folder),
            [self._found(entry) for entry in data if entry.name.lower().endswith(suffixes) and not entry.is_dir()],
        )
        for below in folders:
            yield from self.images(below, suffixes)

    def _found(self, entry: os.DirEntry[str]) -> Found:
        stat = entry.stat()
        if entry.is_symlink():
            self._check_link(entry.path)
        return Found(entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def _enter(self, folder: str) -> None:
        stat = os.stat(folder)
        before = self._folders.setdefault((stat.st_dev, stat.st_ino), folder)
        if before != folder:
            raise _twice(folder, before)

    def _check_link(self, path: str) -> None:
        """Refuse a link to a file that is walked itself."""
        target = os.path.join(os.path.dirname(path), os.readlink(path))
        above = os.path.dirname(target)
        if above not in self._real:
            self._real[above] = os.path.realpath(above)
        for root in self._roots:
            parts = Path(os.path.relpath(self._real[above], root)).parts
            if parts and all(map(is_data, (*parts, os.path.basename(target)))):  # '..' is no data
                raise _twice(path, target)


def is_data(name: str) -> bool:
    """Whether a file or folder is one that people put there."""
    return not name.startswith(".") and name not in SYSTEM


def _twice(path: str, before: str) -> StudyError:
    return StudyError(
        f"'{path}' is '{before}' again, by a link: its images would be there twice, or under another class; remove "
        "the link"
    )
