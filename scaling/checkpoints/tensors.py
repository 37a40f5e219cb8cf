"""Named tensors in safetensors files, with a header of text."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scaling.errors import DamagedFile
from scaling.foreign import what_else

if TYPE_CHECKING:
    from scaling.storage import Storage

OS_ERROR = re.compile(r"os error (\d+)")


def save_tensors(storage: Storage, name: str, tensors: Mapping[str, torch.Tensor], header: dict[str, str]) -> None:
    with storage.new_file(name) as path:
        try:
            save_file(plain_tensors(tensors), path, metadata=header)
        except SafetensorError as error:  # it says what the system said, such as a disk that is full, as text
            number = OS_ERROR.search(str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def load_tensors(storage: Storage, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file.

    Raises:
        MissingFile, DamagedFile: see `opened`.
    """
    with opened(storage, name) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def opened(storage: Storage, name: str) -> Iterator[Any]:
    """A safetensors file.

    Raises:
        MissingFile: there is none. DamagedFile: it is not whole. StorageError: the place cannot be read.
    """
    with storage.local_file(name) as path:
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except OSError as error:
            raise storage.error("read", name, error) from error
        except SafetensorError as error:
            what = what_else(path)
            told = f"cannot be read: it is {what}" if what else f"cannot be read ({error})"
            raise damaged(storage.path(name), told) from error


def damaged(path: str, problem: str) -> DamagedFile:
    """What to raise for a checkpoint that is not what was written."""
    return DamagedFile(
        f"checkpoint '{path}' {problem}; put back a good copy, or let `scaling run` train this run again; all other "
        "runs are untouched"
    )


def plain_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU, row by row: channels_last is undone."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def tensors_under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def weights_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of weights, whatever their device, memory format or place in a file.

    Of each tensor in the order of its name: the line `["name", "dtype", [shape]]` in JSON, then its numbers row by row
    (little-endian).
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(plain_tensors(tensors).items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(json.dumps([name, dtype, list(tensor.shape)]).encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
