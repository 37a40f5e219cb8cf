"""Tensors of a weights file of anyone's: safetensors or PyTorch, told by what it holds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from scaling.foreign import EMPTY, what_else

LENGTH_BYTES = 8  # at the start of a safetensors file: the length of its header
MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
ZIP = b"PK\x03\x04"


def read_tensors(path: Path) -> Any:
    """What a file of weights holds, below 'state_dict' if it has that; no code of the file is run.

    Raises:
        ValueError: a file that cannot be read; says what it is instead, where that is known.
    """
    import torch
    from safetensors.torch import load_file

    if is_safetensors(path):
        tensors: Any = _reading(path, lambda: load_file(path))
    else:
        tensors = _reading(path, lambda: torch.load(path, map_location="cpu", weights_only=True))
    return tensors.get("state_dict", tensors) if isinstance(tensors, dict) else tensors


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors by its content, or else by its name."""
    try:
        with path.open("rb") as file:
            head = file.read(LENGTH_BYTES + 1)
    except OSError:
        head = b""
    if head.startswith((ZIP, b"\x80")):  # of PyTorch: a zip, or a pickle in older files
        return False
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    return path.suffix.lower() == ".safetensors" or (head[LENGTH_BYTES:] == b"{" and 0 < length <= MAX_HEADER_BYTES)


def _reading(path: Path, read: Any) -> Any:
    """What `read` gives; a failure as a ValueError that says what the file is."""
    import pickle

    from safetensors import SafetensorError

    try:
        return read()
    except (pickle.UnpicklingError, EOFError, KeyError) as error:  # torch's own text advises to run the file's code
        told = instead(path) or "no PyTorch file, or one that holds more than tensors"
        raise ValueError(told) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(instead(path) or str(error)) from error


def instead(path: Path) -> str:
    """Why a file that is no whole file of weights is none; '' where nothing is known."""
    if what := what_else(path):
        return f"it is no PyTorch file or safetensors, but {what}{'; download it again' if what == EMPTY else ''}"
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(LENGTH_BYTES)
    return _zip_problem(path) if head.startswith(ZIP) else _cut(path, int.from_bytes(head, "little"))


def _zip_problem(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return f"it is a zip, as PyTorch's files are, cut short at {path.stat().st_size:,} bytes; fetch it again"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        return f"it is a damaged zip ({error}); fetch it again"
    if any(name.endswith("data.pkl") for name in names):
        return ""
    held = ", ".join(names[:3]) or "nothing"
    return f"it is no PyTorch file, but a zip of {held}; unpack it, and give the weights in it"


def _cut(path: Path, length: int) -> str:
    """A safetensors file that ends before its header says."""
    size = path.stat().st_size
    if not 0 < length <= MAX_HEADER_BYTES:
        return ""
    if size < LENGTH_BYTES + length:
        return _short(size, LENGTH_BYTES + length)
    with path.open("rb") as file:
        file.seek(LENGTH_BYTES)
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return ""
    whole = LENGTH_BYTES + length + max(ends, default=0)
    return _short(size, whole) if size < whole else ""


def _short(size: int, whole: int) -> str:
    return f"it is cut short: its header promises {whole:,} bytes at least, and it has {size:,}; fetch it again"
