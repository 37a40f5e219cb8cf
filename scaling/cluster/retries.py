"""Checkpoints that could not be scored for the storage's sake, and when they are tried again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

WAITS_S = (3.0, 9.0, 18.0, 30.0)  # before each further try: a minute in all


class Checkpoint(NamedTuple):
    """What is scored, and on which benchmarks."""

    run_id: str
    epoch: int
    benchmarks: tuple[str, ...]


class Retries:
    """Holds what failed until its time has come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: Counter[Checkpoint] = Counter()
        self._later: list[tuple[float, Checkpoint]] = []

    def __len__(self) -> int:
        return len(self._later)

    def again(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint that failed is tried again; no, once it was tried often enough."""
        tried = self._tries[checkpoint]
        if tried == len(WAITS_S):
            return False
        self._tries[checkpoint] += 1
        self._later.append((self._clock() + WAITS_S[tried], checkpoint))
        return True

    def due(self) -> list[Checkpoint]:
        """Those whose time has come; they are held no longer."""
        now = self._clock()
        due = [checkpoint for at, checkpoint in self._later if at <= now]
        self._later = [(at, checkpoint) for at, checkpoint in self._later if at > now]
        return due
