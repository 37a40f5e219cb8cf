"""A process's place in a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from scaling.train.notice import Notice


@dataclass(frozen=True)
class Worker:
    """This process's place in the run: `rank` of `world` processes, computing on `device` with `threads`.

    notice: of an end that comes to the process.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    threads: int = 1
    notice: Notice = field(default_factory=Notice, compare=False)
