"""MNIST's files, plain or gzipped, as torchvision's MNIST and FashionMNIST keep them."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import LabelledFiles, PlainSplit, Rows, Split, check_labels, refuse_several
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage, file_error

FOLDERS = (".", "FashionMNIST/raw", "MNIST/raw", "KMNIST/raw")
STEMS = ("train", "t10k")
UINT8 = 0x08  # the header's third byte: the type of the values
EXPECTED = "train-images-idx3-ubyte[.gz], …"


def find_idx(root: Storage, spec: DatasetSpec) -> tuple[Split, Split] | None:
    """The four files in the folder or where torchvision puts them; None: not all are there.

    Raises:
        StudyError: several sets are there.
    """
    if not root.is_local:
        return None
    found = {folder: files for folder in FOLDERS if all(files := [_find(Path(root.root) / folder, s) for s in STEMS])}
    refuse_several([root.path(folder) for folder in found], root)
    return next(((IdxSplit(*train), IdxSplit(*heldout)) for train, heldout in found.values()), None)


def _find(folder: Path, stem: str) -> tuple[Path, ...]:
    """The files of images and labels, or nothing."""
    names = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
    found = [[file for file in (folder / name, folder / f"{name}.gz") if file.is_file()] for name in names]
    return (found[0][0], found[1][0]) if all(found) else ()


class IdxSplit(LabelledFiles):
    """Grey images of one file with the labels of another; grey is repeated over three channels.

    Raises:
        StudyError: files that are damaged, or do not fit each other.
    """

    def __init__(self, images: Path, labels: Path) -> None:
        self.files = images, labels
        self.labels = check_labels(read_idx(labels), str(labels))
        self.shape = idx_shape(images)
        if len(self.shape) != 3 or self.shape[0] != len(self.labels):
            raise StudyError(
                f"'{images}' holds values of shape {self.shape} beside {len(self.labels):,} labels; one image a label "
                "is needed: fetch both again"
            )

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        return self._plain.rows(start, size)

    @cached_property
    def _plain(self) -> PlainSplit:
        images = np.broadcast_to(read_idx(self.files[0])[..., None], (*self.shape, 3))
        return PlainSplit(images, self.labels, self.files[0].name)


def read_idx(file: Path) -> NDArray[np.uint8]:
    """The array of an idx file: two zero bytes, type, number of axes, axes as big-endian int32, values.

    Raises:
        StudyError: not such a file, another type than unsigned bytes, fewer or more values than its header says.
    """
    shape = idx_shape(file)
    with _opened(file) as stream:
        content = stream.read()
    begin = 4 + 4 * len(shape)
    if len(content) - begin != math.prod(shape):
        raise StudyError(
            f"'{file}' holds {len(content) - begin:,} values where its header says {' x '.join(map(str, shape))}; "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def idx_shape(file: Path) -> tuple[int, ...]:
    """The axes that the header names; a plain file's size must fit them."""
    with _opened(file) as stream:
        magic = stream.read(4)
        axes = stream.read(4 * magic[3]) if len(magic) == 4 else b""
    if len(magic) < 4 or magic[:3] != bytes([0, 0, UINT8]) or len(axes) < 4 * magic[3]:
        raise StudyError(f"'{file}' does not begin as an idx file of unsigned bytes ({magic!r}); fetch it again")
    return tuple(np.frombuffer(axes, ">i4").tolist())


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The file's content, unpacked; damage anywhere in it is one StudyError."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk; gzip's own have no number
            raise file_error(file, error) from error
        raise StudyError(f"'{file}' cannot be read whole ({error}); fetch it again") from error
