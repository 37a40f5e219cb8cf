"""A process's place in a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Worker:
    """This process's place in the run: `rank` of `world` processes, computing on `device` with `threads`."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    threads: int = 1
