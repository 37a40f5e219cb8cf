"""Where a study keeps its files: one folder on a local disk or on any pyarrow file system (s3://, gs://, hdfs://)."""

from __future__ import annotations

import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from scaling.errors import StudyError


class Storage:
    """A folder of files that appear whole or not at all.

    A write goes to a temporary name on the same file system and is renamed (local disks: one atomic rename;
    object stores publish an object only when its upload closes, so they are written in place).

    Args:
        uri: a local path (absolute or relative to the working directory) or a pyarrow file system URI.

    Raises:
        StudyError: the URI's scheme is unknown to pyarrow.
    """

    def __init__(self, uri: str | Path) -> None:
        text = str(uri)
        if "://" not in text:
            text = Path(text).expanduser().absolute().as_uri()
        try:
            self.filesystem, self.root = fs.FileSystem.from_uri(text)
        except (pa.ArrowInvalid, OSError) as error:
            raise StudyError(
                f"storage='{uri}' is no place that pyarrow can open ({error}); give a local path, s3://… or gs://…"
            ) from error
        self.uri = text

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, *parts: str) -> Storage:
        """The same file system, some folders down."""
        base, mark, query = self.uri.partition("?")
        return Storage("/".join([base.removesuffix("/"), *parts]) + mark + query)

    def path(self, name: str = "") -> str:
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def exists(self, name: str) -> bool:
        return self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound

    def names(self, folder: str = "", suffix: str = "") -> list[str]:
        """Names of the files directly in `folder`, sorted; an absent folder is empty."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        files = self.filesystem.get_file_info(selector)
        found = (info.base_name for info in files if info.type == fs.FileType.File)
        return sorted(name for name in found if name.endswith(suffix) and not name.startswith("."))

    def read_bytes(self, name: str) -> bytes:
        with self.filesystem.open_input_file(self.path(name)) as file:
            return file.read()

    def write_bytes(self, name: str, content: bytes) -> None:
        with self.new_file(name) as temporary, open(temporary, "wb") as file:
            file.write(content)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """A local path to write; what it holds when the block ends becomes `name`, whole or not at all."""
        target = self.path(name)
        folder = target.rsplit("/", 1)[0]
        self.filesystem.create_dir(folder, recursive=True)
        if self.is_local:
            temporary = Path(folder) / f".{uuid.uuid4().hex}.part"
            try:
                yield temporary
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                temporary = Path(scratch) / "file"
                yield temporary
                fs.copy_files(str(temporary), target, destination_filesystem=self.filesystem)

    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        """A local path that holds `name`: the file itself on a local disk, else a copy for the block's time."""
        if self.is_local:
            yield Path(self.path(name))
            return
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "file"
            fs.copy_files(self.path(name), str(copy), source_filesystem=self.filesystem)
            yield copy

    def delete(self, name: str) -> None:
        """Remove a file; one that is already gone is fine."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        """Remove a folder and all in it; one that is already gone is fine."""
        if self.exists(name):
            self.filesystem.delete_dir(self.path(name))

    def check_writable(self) -> None:
        """Write and remove a probe.

        Raises:
            StudyError: the place cannot be written.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"probe")
            self.delete(probe)
        except OSError as error:
            raise StudyError(
                f"storage='{self.uri}' cannot be written ({error}); choose another with storage: or --storage"
            ) from error

    @contextmanager
    def locked(self, name: str = ".lock") -> Iterator[None]:
        """Keep a second driver out of a local folder (object stores have no locks: there the block runs unguarded).

        Raises:
            StudyError: another process holds the lock.
        """
        if not self.is_local:
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with open(self.path(name), "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StudyError(
                    f"another `scaling run` is writing to '{self.root}'; wait for it or end it, then run again"
                ) from error
            yield
