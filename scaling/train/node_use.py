"""How much of its node is in use while a run trains: processors, memory, GPU; on Linux, as the whole node sees it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

IDLE, WAITS = 3, 4  # columns of /proc/stat: nothing to do, and nothing but input and output


class NodeUse:
    """Shares in [0, 1] of the node that this process is on."""

    def __init__(self) -> None:
        self._before = _ticks()

    def take(self) -> dict[str, float]:
        """Processor time in use since the last call; memory and GPU, of the process's device, at this moment.

        Names are `cpu`, `memory`, `gpu_memory` and, where nvidia-ml-py is there, `gpu`: the share of time in which any
        kernel runs. What cannot be told is left out.
        """
        now, before = _ticks(), self._before
        self._before = now
        found = {}
        if before is not None and now is not None and now[1] > before[1]:
            found["cpu"] = (now[0] - before[0]) / (now[1] - before[1])
        with suppress(OSError, KeyError, IndexError):
            memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
            total, free = (int(memory[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
            found["memory"] = 1 - free / total
        return found | _gpu()


def _ticks() -> tuple[int, int] | None:
    """Busy and all ticks of all processors so far."""
    with suppress(OSError, IndexError):
        ticks = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(ticks) - ticks[IDLE] - ticks[WAITS], sum(ticks)
    return None


def _gpu() -> dict[str, float]:
    if not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    found = {"gpu_memory": 1 - free / total}
    with suppress(ModuleNotFoundError, RuntimeError):
        found["gpu"] = torch.cuda.utilization() / 100
    return found
