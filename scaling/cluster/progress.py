"""What the driver tells of a study while it runs; how that is shown is the caller's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from scaling.cluster.measured import MeasuredCost
from scaling.records import EpochRecord
from scaling.specs.run import RunSpec


class Progress(Protocol):
    """Hears of runs and scores."""

    def started(self, run: RunSpec) -> None: ...

    def advanced(self, run: RunSpec, epoch: EpochRecord) -> None: ...

    def ended(self, run: RunSpec, failed: bool) -> None: ...

    def scored(self) -> None:
        """A checkpoint was scored on all that it lacked."""

    def say(self, message: str) -> None: ...

    def refresh(self) -> None:
        """Called a few times a second."""


# (cost of the runs to train, runs that are done, checkpoints to score) -> what hears of them
ProgressFactory = Callable[[MeasuredCost, int, int], AbstractContextManager[Progress]]
