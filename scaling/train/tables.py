"""An epoch's numbers on the device: one row a step, sent in one copy, read by a counter that lies there too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

ALIGNMENT = 16  # bytes: every column begins where any type may


class Column(NamedTuple):
    """A row's shape and type."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def nbytes(self, steps: int) -> int:
        return steps * math.prod(self.shape) * self.dtype.itemsize


class Sheet:
    """A block of memory that holds columns of `steps` rows; `columns` are its parts as tensors."""

    def __init__(self, columns: Mapping[str, Column], steps: int, block: torch.Tensor) -> None:
        self.block, self.columns, start = block, {}, 0
        for name, column in columns.items():
            end = start + column.nbytes(steps)
            self.columns[name] = block[start:end].view(column.dtype).view(steps, *column.shape)
            start = _aligned(end)


class Tables:
    """Columns of numbers by step, at places on the device that stay the same, and the number of the step that is next.

    What reads them is a function of the device alone: a graph that was captured once serves every step of every epoch.
    """

    def __init__(self, columns: Mapping[str, Column], steps: int, device: torch.device) -> None:
        self.layout, self.steps, self.device = dict(columns), steps, device
        self._n_bytes = sum(_aligned(column.nbytes(steps)) for column in columns.values())
        self._sheet = Sheet(columns, steps, torch.zeros(self._n_bytes, dtype=torch.uint8, device=device))
        self._step = torch.zeros(1, dtype=torch.int64, device=device)

    def blank(self) -> dict[str, np.ndarray]:
        """An epoch's columns to be filled on the host: views of one block, which `send` takes."""
        pinned = self.device.type == "cuda"
        self._next = Sheet(self.layout, self.steps, torch.zeros(self._n_bytes, dtype=torch.uint8, pin_memory=pinned))
        return {name: column.numpy() for name, column in self._next.columns.items()}

    def send(self, first: int) -> None:
        """Bring the columns of the last `blank` to the device, behind all that was queued there; `first` is next.

        The block of pinned memory is not used anew before it is copied: torch's allocator sees to it.
        """
        self._sheet.block.copy_(self._next.block, non_blocking=True)
        self._step.fill_(first)

    def row(self, name: str) -> torch.Tensor:
        """The next step's row."""
        return self._sheet.columns[name].index_select(0, self._step)[0]

    def advance(self) -> None:
        self._step.add_(1)


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT
