"""MNIST's files, plain or gzipped, as torchvision's MNIST and FashionMNIST keep them."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError

FOLDERS = (".", "FashionMNIST/raw", "MNIST/raw", "KMNIST/raw")
STEMS = {"train": "train", "heldout": "t10k"}
UINT8 = 0x08  # the header's third byte: the type of the values


def idx_files(root: Path, split: str) -> tuple[Path, Path] | None:
    """The files of images and labels of a split, in the folder or where torchvision puts them; None: not there."""
    for folder in FOLDERS:
        images = _find(root / folder, f"{STEMS[split]}-images-idx3-ubyte")
        labels = _find(root / folder, f"{STEMS[split]}-labels-idx1-ubyte")
        if images is not None and labels is not None:
            return images, labels
    return None


def _find(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def read_idx(file: Path) -> NDArray[np.uint8]:
    """The array of an idx file: two zero bytes, type, number of axes, axes as big-endian int32, values.

    Raises:
        StudyError: not such a file, another type than unsigned bytes, fewer or more values than its header says.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"'{file}' is no whole gzip file ({error}); fetch it again") from error
    shape = _shape(content[:4], content)
    if shape is None:
        raise StudyError(f"'{file}' does not begin as an idx file of unsigned bytes ({content[:4]!r}); fetch it again")
    begin = 4 + 4 * len(shape)
    if len(content) - begin != math.prod(shape):
        raise StudyError(
            f"'{file}' holds {len(content) - begin:,} values where its header says {' x '.join(map(str, shape))}; "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def _shape(magic: bytes, content: bytes) -> tuple[int, ...] | None:
    """The axes that a header names, or None where it is no idx header of unsigned bytes."""
    if len(magic) < 4 or magic[:3] != bytes([0, 0, UINT8]) or len(content) < 4 + 4 * magic[3]:
        return None
    return tuple(np.frombuffer(content, ">i4", count=magic[3], offset=4).tolist())
