"""A run's images on its device, and the batches of its steps made there from an epoch's tables."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import torch

from scaling.data.images import ImageData
from scaling.specs.run import RunSpec
from scaling.train.augment.apply import Look
from scaling.train.augment.mixing import mix
from scaling.train.augment.stored import BY_IMAGE, augmented, cannot_store, draw_all, draw_columns_of, stored_window
from scaling.train.batch import Batch
from scaling.train.feed import step_draw
from scaling.train.losses import soft_targets
from scaling.train.memory import largest_batch
from scaling.train.tables import Column, Tables

SHARE_OF_MEMORY = 0.1  # of a device's, that a data set's images may take there; assumption: the models need the rest
WHOLE = slice(None)

_shared: weakref.WeakValueDictionary[tuple[Any, ...], torch.Tensor] = weakref.WeakValueDictionary()
_sharing = threading.Lock()


def cannot_reside(run: RunSpec, data: ImageData, subset: np.ndarray, with_maps: bool, memory: int) -> str | None:
    """Why a run's images are read from the host's memory batch by batch.

    Args:
        memory: bytes of the device.
    """
    images = data.train.images
    if not isinstance(images, np.ndarray):
        return "images are decoded when they are read"
    if with_maps:
        return "importance maps come from the host with their images"
    if (reason := cannot_store(run.training)) is not None:
        return reason
    window = stored_window(run.training, images.shape[1], data.image_size)
    n_bytes = len(subset) * 3 * (window.stop - window.start) ** 2
    if n_bytes <= SHARE_OF_MEMORY * memory:
        return None
    return f"images take {n_bytes / memory:.0%} of the device's memory, above {SHARE_OF_MEMORY:.0%}"


class Resident:
    """The images of a run's subset on its device; `batch` is a function of the device alone.

    Runs of one process that see the same images share them, where all training images fit the share of its memory.

    Args:
        run: with the training of its own data size. memory: bytes of the device.
    """

    def __init__(self, run: RunSpec, data: ImageData, subset: np.ndarray, device: torch.device, memory: int) -> None:
        self.run, self.data, self.subset = run, data, subset
        self.look = Look(data.mean, data.std, device, data.image_size)
        self.window = stored_window(run.training, data.train.images.shape[1], data.image_size)
        self.side = self.window.stop - self.window.start
        self.largest = largest_batch(run, len(subset))
        self.images, self.labels, self.place_of = self._store(device, memory)

    def _store(self, device: torch.device, memory: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Images, labels, and where in them each training image is."""
        train = self.data.train
        whole = len(train) * 3 * self.side**2 <= SHARE_OF_MEMORY * memory
        index = np.arange(len(train)) if whole else self.subset
        place_of = np.zeros(len(train), np.int64)
        place_of[index] = np.arange(len(index))
        labels = torch.from_numpy(train.labels[index]).to(device)
        if not whole:
            return self._upload(index, device), labels, place_of
        key = (id(train.images), str(device), self.window.start, self.window.stop)
        with _sharing:
            images = _shared.get(key)
            if images is None:
                images = _shared[key] = self._upload(index, device)
                weakref.finalize(train, _shared.pop, key, None)  # another array may get its id
        return images, labels, place_of

    def _upload(self, index: np.ndarray, device: torch.device) -> torch.Tensor:
        rows = np.ascontiguousarray(self.data.train.images[index][:, self.window, self.window])
        return torch.from_numpy(rows).to(device)

    def columns(self) -> dict[str, Column]:
        return {"index": Column((self.largest,), torch.int64)} | draw_columns_of(self.run.training, self.largest)

    def draw(self, index: np.ndarray, place: tuple[int, int], columns: dict[str, np.ndarray]) -> None:
        """Write the images and draws of step (epoch, step) into its row of an epoch's columns."""
        n, step = len(index), place[1]
        drawn = {"index": self.place_of[index]}
        drawn |= draw_all(self.run.training, self.side, self.data.image_size, step_draw(self.run, index, place, WHOLE))
        for name, values in drawn.items():
            where = (step, slice(n)) if name in BY_IMAGE else step
            columns[name][where] = values

    def batch(self, tables: Tables, n: int) -> Batch:
        """The next step's batch, of n images."""
        spec = self.run.training
        draws = {name: tables.row(name) for name in self.columns()}
        draws |= {name: row[:n] for name, row in draws.items() if name in BY_IMAGE}
        pixels = augmented(self.images, draws["index"], draws, spec, self.look)
        labels, targets = self.labels[draws["index"]], None
        if "partner" in draws:
            soft = soft_targets(labels, self.data.n_classes, spec.label_smoothing)
            pixels, targets = mix(draws, pixels, soft)
        layout = torch.channels_last if self.run.resources.channels_last else torch.contiguous_format
        return Batch(pixels.contiguous(memory_format=layout), labels, None, WHOLE, n, targets=targets)
