"""Stimulus images in a folder or a zip, read one at a time: nothing is extracted, nothing outside is reached."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scaling.data.modes import EIGHT_BIT_MODES, as_mode, why_unfit
from scaling.errors import StudyError, known_names

# Limits of what one image may cost; assumptions, far above any published stimulus set (1024 × 1024 pixels, 3 MiB).
MAX_FILE_BYTES = 2**28
MAX_PIXELS = 2**26

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")

_REMEDY = "give the archive as published; fetch it again if it was downloaded"
_ENCRYPTED = 0x1  # bit of a member's flags
_MAX_NAMES_SHOWN = 5


class Images:
    """An open archive. `names` lists its files; `read` and `image` take a name, or a file name that is there once."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self.path, self.names = path, frozenset(names)
        base_names = Counter(PurePosixPath(name).name for name in self.names)
        self._by_base_name = {base: name for name in self.names if base_names[base := PurePosixPath(name).name] == 1}

    def find(self, name: str) -> str:
        """The archive's own name of a file.

        Raises:
            StudyError: it is not there; near matches are listed.
        """
        found = name if name in self.names else self._by_base_name.get(name)
        if found is None:
            shown = sorted(self.names)[:_MAX_NAMES_SHOWN]
            hint = known_names(name, shown) if shown else "it holds no files"
            raise StudyError(f"{self.path}: no image {name!r} among {len(self.names):,} files ({hint}, …); {_REMEDY}")
        return found

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        raise NotImplementedError

    def image(self, name: str) -> NDArray[np.uint8]:
        """The decoded image, (height, width, 3); see `decode_image`."""
        return decode_image(self.read(name), f"{self.path}, {name}")

    def digest(self, names: Iterable[str]) -> str:
        """Hexadecimal hash of the content of these files, in this order."""
        digest = hashlib.sha256()
        for name in names:
            digest.update(hashlib.sha256(self.read(name)).digest())
        return digest.hexdigest()


class _Folder(Images):
    def __init__(self, path: Path) -> None:
        super().__init__(path, (p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()))

    def read(self, name: str) -> bytes:
        file = self.path / self.find(name)
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise StudyError(f"{self.path}: {name!r} is a link to {file.resolve()}, outside; copy the image itself")
        _check_size(f"{self.path}, {name}", file.stat().st_size)
        return file.read_bytes()


class _Zip(Images):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in archive.infolist():
            _check_member(path, member)
        repeated = [name for name, count in Counter(m.filename for m in members).items() if count > 1]
        if repeated:
            raise StudyError(f"{path}: member {repeated[0]!r} comes twice; {_REMEDY}")
        super().__init__(path, (m.filename for m in members if not m.filename.startswith("__MACOSX/")))
        self._archive = archive

    def read(self, name: str) -> bytes:
        member = self.find(name)
        try:
            return self._archive.read(member)
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError) as error:
            raise StudyError(f"{self.path}: member {member!r} is damaged: {error}; {_REMEDY}") from error


@contextmanager
def open_images(path: Path) -> Iterator[Images]:
    """The images of a folder or of a zip.

    Every member of a zip is checked before any is read, and none is extracted.

    Raises:
        StudyError: neither folder nor zip, a truncated zip; a member that is encrypted, a link, larger than
            MAX_FILE_BYTES unpacked, there twice, or named by an absolute path or one that climbs out of the folder.
    """
    path = Path(path)
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.is_file():
        raise StudyError(f"images: {path} does not exist; give a folder or a zip of images")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, struct.error) as error:
        raise StudyError(f"{path} ({path.stat().st_size:,} bytes) is no whole zip: {error}; {_REMEDY}") from error
    with archive:
        yield _Zip(path, archive)


def decode_image(coded: bytes, where: str) -> NDArray[np.uint8]:
    """A coded image as (height, width, 3) uint8; grey is repeated over the channels, transparency is dropped.

    Args:
        where: named in errors.

    Raises:
        StudyError: not an image of IMAGE_FORMATS, damaged, more than 8 bits a channel, more than MAX_PIXELS.
    """
    try:
        image = Image.open(io.BytesIO(coded), formats=IMAGE_FORMATS)
        width, height = image.size
        fit = why_unfit(image) is None and width * height <= MAX_PIXELS
        decoded = as_mode(image, "RGB") if fit else None
        if decoded is not None:
            decoded.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise StudyError(f"{where}: {len(coded):,} bytes are no image: {error}; {_REMEDY}") from error
    if decoded is None:
        raise StudyError(
            f"{where}: an image of {width:,} × {height:,} pixels in mode {image.mode!r}; at most {MAX_PIXELS:,} pixels "
            f"of 8 bits a channel ({', '.join(EIGHT_BIT_MODES)}): convert it"
        )
    return np.asarray(decoded)


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse members that no published archive of images has."""
    name, windows = member.filename, PureWindowsPath(member.filename)
    where = f"{path}: member {name!r}"
    if name.startswith("/") or windows.drive or windows.root or ".." in windows.parts:
        raise StudyError(f"{where} has a path that climbs out of its folder; {_REMEDY}")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise StudyError(f"{where} is a link; {_REMEDY}")
    if member.flag_bits & _ENCRYPTED:
        raise StudyError(f"{where} is encrypted; {_REMEDY}")
    _check_size(where, member.file_size)


def _check_size(where: str, n_bytes: int) -> None:
    if n_bytes > MAX_FILE_BYTES:
        raise StudyError(f"{where} has {n_bytes:,} bytes, more than {MAX_FILE_BYTES:,}; {_REMEDY}")
