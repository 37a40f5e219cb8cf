"""Where a study keeps its files: one folder on a local disk or on any pyarrow file system (s3://, gs://, hdfs://)."""

from __future__ import annotations

import copy
import errno
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from scaling.errors import MissingFile, StorageError, StudyError
from scaling.patience import Patience
from scaling.place import Place

PART = ".part"  # how temporary names end
STALE_S = 12 * 3600.0  # a temporary file this old has lost its writer; assumption
# Of S3, where its URI does not say: three tries of these notice a store that does not answer within a minute, where
# the defaults take 100 s (measured). request_timeout is of silence, not of the whole request.
TIMEOUTS_S = {"connect_timeout": 5.0, "request_timeout": 15.0}
RETRY_LIMIT = {"retry_limit_seconds": "60"}  # Google's; its default is 15 minutes
PATIENCE = "patience_s"  # a key of a URI's query
CHUNK = 8 << 20  # bytes
WITHOUT_FOLDERS = ("s3", "gcs")  # where a folder is no more than the beginning of names
CLIENT_WORDS = ("AWS Error", "google::cloud::Status", "curlCode")  # what clients of stores say in their own errors
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Storage:
    """A folder of files that appear whole or not at all.

    A write goes to a temporary name on the same file system and is renamed (local disks: one atomic rename;
    object stores publish an object only when its upload closes, so they are written in place).

    Every method raises StorageError where the place is full, refuses or does not answer, and MissingFile where a file
    that is read is not there. Where a place that has answered before does not any more, or asks for a pause, tries go
    on for a while first, see `Patience`.

    Args:
        uri: a local path (absolute or relative to the working directory) or a pyarrow file system URI. s3:// takes
            `connect_timeout` and `request_timeout` in seconds beside Arrow's own keys, every URI `patience_s`: how
            long it is tried again, from the first call on.

    Attributes:
        place: the URI. filesystem, root: of pyarrow, and this folder's path there.

    Raises:
        StudyError: the URI's scheme or a key of its query is unknown to pyarrow.
        StorageError: the store does not answer when it is asked for the bucket's region.
    """

    def __init__(self, uri: str | Path | Place) -> None:
        self.place = uri if isinstance(uri, Place) else Place.of(uri)
        self.filesystem, self.root, seconds = _open(self.place)
        self._patience = Patience(seconds)  # shared by all folders of the place

    @classmethod
    def of_file(cls, uri: str | Path) -> tuple[Storage, str]:
        """The folder of a file's path or URI, and its name there."""
        place = Place.of(uri)
        return cls(place.parent), place.name

    @property
    def uri(self) -> str:
        """What opens this folder in another process, which is as patient as this one.

        It may hold credentials: people are told `shown`.
        """
        if self.is_local or not self._patience.waits:
            return self.place.uri
        return self.place.with_options(self.place.options | {PATIENCE: f"{self._patience.seconds:g}"}).uri

    @property
    def shown(self) -> str:
        return self.place.shown

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, *parts: str) -> Storage:
        """The same file system, some folders down."""
        below = copy.copy(self)
        below.place, below.root = self.place.child(*parts), self.path("/".join(parts))
        return below

    def patient(self, seconds: float) -> Storage:
        """The same folder, which is waited for so long where it is away."""
        other = copy.copy(self)
        other._patience = Patience(seconds)
        return other

    def path(self, name: str = "") -> str:
        """As the file system names a file; without credentials."""
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def exists(self, name: str) -> bool:
        return self.file_infos([name])[0].type != fs.FileType.NotFound

    def file_infos(self, names: Sequence[str]) -> list[fs.FileInfo]:
        """Type, size and time of change of each; of a file that is not there, the type NotFound."""
        with self._answering("read", names[0] if names else ""):
            paths = [self.path(name) for name in names]
            return self._patience.ask(lambda: self.filesystem.get_file_info(paths))

    def names(self, folder: str = "", suffix: str = "") -> list[str]:
        """Names of the files directly in `folder`, sorted; an absent folder is empty.

        Temporary files are left out, and those that killed writers left are removed.
        """
        with self._answering("listed", folder):
            selector = fs.FileSelector(self.path(folder), allow_not_found=True)
            files = self._patience.ask(lambda: self.filesystem.get_file_info(selector))
        found = [info for info in files if info.type == fs.FileType.File]
        for info in found:
            self._remove_stale(info)
        return sorted(i.base_name for i in found if i.base_name.endswith(suffix) and not i.base_name.startswith("."))

    def read_bytes(self, name: str) -> bytes:
        def read() -> bytes:
            with self.filesystem.open_input_file(self.path(name)) as file:
                return file.read()

        with self._answering("read", name):
            return self._patience.ask(read)

    @contextmanager
    def open_file(self, name: str) -> Iterator[Any]:
        """A pyarrow stream. Reads in the block raise what they raise; see `failed`."""
        with self._answering("read", name):
            file = self._patience.ask(lambda: self.filesystem.open_input_file(self.path(name)))
        with file:
            yield file

    def failed(self, error: BaseException) -> bool:
        """Whether an error from reading a file's content came from the place, and not from what the file holds.

        Arrow raises OSError for both; one of the place has a number or its client's words.
        """
        if isinstance(error, StorageError):
            return True
        told = any(word in str(error) for word in CLIENT_WORDS)
        return isinstance(error, OSError) and (told or bool(error.errno))

    def error(self, doing: str, name: str, error: BaseException) -> StorageError:
        """What to raise where the file `name` cannot be `doing` ('read', 'written', …) for a fault of the place."""
        return storage_error(doing, self.place.child(name).shown if name else self.shown, self.place.hide(error), error)

    def write_bytes(self, name: str, content: bytes) -> None:
        with self.new_file(name) as temporary, open(temporary, "wb") as file:
            file.write(content)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """A local path to write; what it holds when the block ends becomes `name`, whole or not at all.

        An OSError of the block is of the place, and raised as StorageError.
        """
        target = self.path(name)
        folder = target.rsplit("/", 1)[0]
        with self._answering("written", name):
            if self.filesystem.type_name not in WITHOUT_FOLDERS:
                self._patience.ask(lambda: self.filesystem.create_dir(folder, recursive=True))
            if self.is_local:
                temporary = Path(folder) / f".{uuid.uuid4().hex}{PART}"
                try:
                    yield temporary
                    self._patience.ask(lambda: os.replace(temporary, target))
                finally:
                    temporary.unlink(missing_ok=True)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    temporary = Path(scratch) / "file"
                    yield temporary
                    self._patience.ask(lambda: self._upload(temporary, target))

    def _upload(self, file: Path, target: str) -> None:
        """Copy a local file; closed here, as an error of the last request would be lost otherwise."""
        with file.open("rb") as source:
            stream = self.filesystem.open_output_stream(target)
            shutil.copyfileobj(source, stream, CHUNK)
            stream.close()

    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        """A local path that holds `name`: the file itself on a local disk, else a copy for the block's time."""
        if self.is_local:
            path = Path(self.path(name))
            with self._answering("read", name):
                path.stat()
            yield path
            return
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "file"
            with self._answering("read", name):
                self._patience.ask(lambda: fs.copy_files(self.path(name), str(path), source_filesystem=self.filesystem))
            yield path

    def delete(self, name: str) -> None:
        """Remove a file; one that is already gone is fine."""
        with suppress(MissingFile), self._answering("deleted", name):
            if self.exists(name):
                self._patience.ask(lambda: self.filesystem.delete_file(self.path(name)))

    def delete_folder(self, name: str) -> None:
        """Remove a folder and all in it; one that is already gone is fine."""
        with suppress(MissingFile), self._answering("deleted", name):
            if self.exists(name):
                self._patience.ask(lambda: self.filesystem.delete_dir(self.path(name)))

    def check_writable(self) -> None:
        """Write and remove a probe.

        Raises:
            StorageError: the place cannot be written.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"probe")
            self.delete(probe)
        except StorageError as error:
            cause = error.__cause__ or error
            raise storage_error("written", self.shown, self.place.hide(cause), cause) from error

    @contextmanager
    def _answering(self, doing: str, name: str) -> Iterator[None]:
        """The block's errors as StorageError, or as MissingFile where a file is only read."""
        try:
            yield
        except FileNotFoundError as error:
            if doing == "written":
                raise self.error(doing, name, error) from error
            seen = f", seen from node {platform.node()}; if another has it, keep it in a folder that all nodes share"
            raise MissingFile(
                f"'{self.place.child(name).shown}' cannot be read: there is no such file{seen if self.is_local else ''}"
            ) from error
        except OSError as error:
            raise self.error(doing, name, error) from error

    def _remove_stale(self, info: fs.FileInfo) -> None:
        """Remove a temporary file of a writer that was killed long ago."""
        name = info.base_name
        stale = name.startswith(".") and name.endswith(PART) and info.mtime_ns is not None
        if stale and time.time() - info.mtime_ns / 1e9 > STALE_S:
            with suppress(OSError):  # of another process, or in a folder that may only be read
                self.filesystem.delete_file(info.path)


def file_error(path: str | Path, error: OSError) -> StudyError:
    """What to raise for a local file outside a Storage that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return MissingFile(f"'{path}' cannot be read ({error}), seen from node {platform.node()}; restore it")
    return storage_error("read", str(path), str(error), error)


def storage_error(doing: str, where: str, message: str, error: BaseException | None = None) -> StorageError:
    """What to raise where `where` cannot be `doing`. error: tells a full disk and a refusal from the rest."""
    number = getattr(error, "errno", None)
    remedy = "see that it can be reached"
    if number in NO_ROOM:
        remedy = "make room there"
    elif number in REFUSED:
        remedy = "allow this user to do it"
    other = " or choose another with storage: or --storage" if doing == "written" else ""
    return StorageError(
        f"storage: '{where}' cannot be {doing} ({message}); {remedy}{other}, then go on: what is done stays"
    )


def _open(place: Place) -> tuple[fs.FileSystem, str, float | None]:
    """File system, folder, and the patience that the URI asks for."""
    options = place.options
    seconds = options.pop(PATIENCE, None)
    limits = {key: options.pop(key) for key in TIMEOUTS_S if place.scheme == "s3" and key in options}
    if place.scheme in ("gs", "gcs"):
        options = RETRY_LIMIT | options
    text = place.uri if options == place.options else place.with_options(options).uri
    try:
        patience = None if seconds is None else float(seconds)
        filesystem, root = fs.FileSystem.from_uri(text)
        if filesystem.type_name == "s3":
            filesystem = _with_limits(filesystem, TIMEOUTS_S | {key: float(value) for key, value in limits.items()})
    except OSError as error:
        raise storage_error("opened", place.shown, place.hide(error), error) from error
    except (pa.ArrowException, ValueError) as error:
        raise StudyError(
            f"storage='{place.shown}' is no place that pyarrow can open ({place.hide(error)}); give a local path, "
            "s3://… or gs://…"
        ) from error
    return filesystem, root, patience


def _with_limits(filesystem: fs.FileSystem, limits: dict[str, float]) -> fs.FileSystem:
    """The same S3 with timeouts, and small files in one request, which a URI cannot give; made as unpickling does."""
    rebuild, (settings,) = filesystem.__reduce__()
    return rebuild(settings | limits | {"allow_delayed_open": True})
