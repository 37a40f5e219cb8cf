"""Representations on disk, under a key of everything that changes their numbers."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import uuid
import warnings
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.errors import StudyError

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1  # raise it when features are computed differently: older files are then never found
_STALE_S = 3600.0  # a temporary file this old has lost its writer; assumption
_SAID: set[Path] = set()  # folders that this process has said to be of no use
_ARRAYS, _EITHER = ("along_mean", "row_mean"), ("features", "gram")


@dataclass(frozen=True)
class FeatureFacts:
    """What a representation depends on; two that are equal have the same numbers.

    Attributes:
        weights: `weights_hash` of the model. layer: its name. stimuli: hash of the images.
        preprocessing: all its settings, image size included, or None for images that come prepared.
        reduction: kind, components, seed, hash of the images it was fitted on. batch_size: images in a forward pass
            as asked for; None is a function of the model. device: 'cpu' or 'cuda', which round differently.
    """

    weights: str
    layer: str
    stimuli: str
    preprocessing: dict[str, Any] | None
    reduction: dict[str, Any]
    batch_size: int | None
    device: str

    def key(self) -> str:
        """64 hex digits."""
        text = json.dumps(asdict(self) | {"format": FORMAT}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def weights_hash(model: nn.Module) -> str:
    """sha256 over the architecture and every parameter and buffer: names, types, shapes, bytes.

    The architecture is the model's class and its printed form, which holds strides, activations and rates that no
    weight shows. Buffers that are not saved count too.
    """
    kind = type(model)
    digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}\n{model!r}".encode())
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Any) -> memoryview:
    import torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


class RepresentationCache:
    """A folder of representations; the ones not used for longest give way.

    Files appear whole or not at all, so any number of processes may share the folder. A file that is damaged is
    deleted with a warning and computed again. A folder that cannot be used (not made, not written, full) is said once
    a process and done without: what is computed does not depend on it.

    Args:
        folder: made in the process that first stores something, on its own node; relative to where this object is
            made, wherever it is used. limit_gb: what all files together may take, 10⁹ bytes; a representation takes
            8 n² bytes, or its features' 8 n p where they are kept.

    Raises:
        StudyError: a limit that is not positive.
    """

    def __init__(self, folder: str | Path, limit_gb: float = 20.0) -> None:
        if not limit_gb > 0:
            raise StudyError(f"feature cache: limit_gb={limit_gb}; give a positive size, or use no cache")
        self._folder, self._limit = Path(folder).expanduser().absolute(), int(limit_gb * 10**9)
        self._stores = True

    def load(self, key: str) -> Representation | None:
        """The representation under a key, or None."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as file:  # reading checks every array's CRC
                found = _representation({name: file[name] for name in file.files})
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, OSError) and error.errno:  # of the folder: the file may be whole
                self._say_once(error)
                return None
            warnings.warn(f"feature cache: '{path}' is damaged ({error}); it is computed again", stacklevel=2)
            _remove(path)
            return None
        with suppress(OSError):  # a folder that may only be read still gives
            os.utime(path)
        return found

    def store(self, key: str, representation: Representation) -> None:
        """Keep a representation; what is needed to stay within the limit is deleted first, least recently used first.

        A representation larger than the limit is not kept, with a warning; none is once the folder was of no use.
        """
        if not self._stores:
            return
        arrays = _arrays(representation)
        size = sum(array.nbytes for array in arrays.values()) + 4096
        if size > self._limit:
            warnings.warn(
                f"feature cache: {size:,} bytes exceed limit_gb={self._limit / 1e9:g}; not kept", stacklevel=2
            )
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            self._write(key, arrays)
        except OSError as error:
            self._stores = False
            self._say_once(error)

    def _write(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        temporary = self._folder / f".{uuid.uuid4().hex}.part"
        try:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(temporary, self._path(key))
        finally:
            _remove(temporary)

    def _say_once(self, error: OSError) -> None:
        if self._folder not in _SAID:
            _SAID.add(self._folder)
            warnings.warn(
                f"feature cache '{self._folder}' cannot be used on node {platform.node()} ({error}); scores go on "
                "without it: make it writable, or name another folder (scoring.cache)",
                stacklevel=3,
            )

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def _make_room(self, size: int) -> None:
        for path in self._folder.glob(".*.part"):
            if _age_s(path) > _STALE_S:
                _remove(path)
        files = sorted((stat.st_mtime_ns, path, stat.st_size) for path, stat in _files(self._folder))
        excess = sum(n_bytes for _, _, n_bytes in files) + size - self._limit
        for _, path, n_bytes in files:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= n_bytes


def _remove(path: Path) -> None:
    with suppress(OSError):  # of a folder that may only be read
        path.unlink(missing_ok=True)


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Kept files; one that another process deletes meanwhile is left out."""
    found = []
    for path in folder.glob("*.npz"):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:
            continue
    return found


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _arrays(representation: Representation) -> dict[str, np.ndarray]:
    arrays = {name: getattr(representation, name) for name in _ARRAYS}
    arrays["mean_square"] = np.float64(representation.mean_square)
    arrays["n_features"] = np.int64(representation.n_features)
    found = {name: getattr(representation, name) for name in _EITHER}
    return arrays | {name: array for name, array in found.items() if array is not None}


def _representation(arrays: dict[str, np.ndarray]) -> Representation:
    return Representation(
        **{name: arrays[name] for name in _ARRAYS},
        mean_square=float(arrays["mean_square"]),
        n_features=int(arrays["n_features"]),
        features=arrays.get("features"),
        gram=arrays.get("gram"),
    )
