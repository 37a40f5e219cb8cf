"""Images from the host to a GPU, beside all that computes there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

BLOCKS = 2  # one is filled while the other is copied


class Transfer:
    """Copies of rows of arrays to a GPU: on a stream of its own, from pinned blocks that take turns.

    The host waits where both blocks are still being copied, and nowhere else.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._stream = device, torch.cuda.Stream(device)
        self._blocks = [torch.empty(0, dtype=torch.uint8, pin_memory=True)] * BLOCKS
        self._copied = [torch.cuda.Event() for _ in range(BLOCKS)]
        self._turn = 0

    def gather(self, rows: Any, index: np.ndarray) -> torch.Tensor:
        """rows[index] on the GPU, for what is queued on the current stream after it.

        Args:
            rows: (N, ...) array, or what gives one when it is indexed.
        """
        self._turn = turn = (self._turn + 1) % BLOCKS
        self._copied[turn].synchronize()
        pinned = self._fill(turn, rows, index)
        now = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            there = pinned.to(self.device, non_blocking=True)
            self._copied[turn].record()
        now.wait_event(self._copied[turn])
        there.record_stream(now)
        return there

    def _fill(self, turn: int, rows: Any, index: np.ndarray) -> torch.Tensor:
        whole = isinstance(rows, np.ndarray)
        found = None if whole else rows[index]
        shape, dtype = ((len(index), *rows.shape[1:]), rows.dtype) if found is None else (found.shape, found.dtype)
        n_bytes = math.prod(shape) * dtype.itemsize
        if len(self._blocks[turn]) < n_bytes:
            self._blocks[turn] = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
        block = self._blocks[turn][:n_bytes]
        view = block.numpy().view(dtype).reshape(shape)
        if found is None:
            np.take(rows, index, axis=0, out=view, mode="clip")  # mode 'raise' would copy twice
        else:
            view[...] = found
        return block.view(torch.from_numpy(view[:0]).dtype).view(*shape)  # a view of the block: it stays pinned
