"""How long the device computes in steps: processor and GPU run apart, so a GPU's own clock is asked."""

from __future__ import annotations

import time
from types import TracebackType

import torch


class StepTimer:
    """Sums the seconds that `with timer:` blocks take on a device.

    On a GPU, whose work is only queued in the block, between two events of its stream: what it waits for data outside
    of the blocks is not counted. Nothing waits for the GPU before `take`.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._seconds, self._began = 0.0, 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __enter__(self) -> None:
        if self.on_gpu:
            self._events.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._events[-1][0].record()
        else:
            self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.on_gpu:
            self._events[-1][1].record()
        else:
            self._seconds += time.perf_counter() - self._began

    def take(self) -> float:
        """The seconds since the last call; waits until the GPU has done the work."""
        if self._events:
            self._events[-1][1].synchronize()
            self._seconds += sum(began.elapsed_time(ended) for began, ended in self._events) / 1000
            self._events.clear()
        seconds, self._seconds = self._seconds, 0.0
        return seconds
