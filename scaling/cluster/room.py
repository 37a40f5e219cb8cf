"""Room for the next run: the cluster's nodes as they come and go, less what scores and what goes on. No Ray.

Where a process lies is Ray's choice; the book here places by first fit and says what would fit, so that Tune is asked
for no run that has to wait. A book that is wrong for a while costs waiting and nothing else: Ray alone hands out CPUs
and GPUs, and a group of workers gets all of its places at once or none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scaling.cluster.placement import Free, Need, Node, beside_scoring, most_needs, place
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec

LOOK_S = 2.0  # between two looks at the cluster's nodes


class Hold(NamedTuple):
    """What a run has of a node, in grains; of each GPU there."""

    node: str
    cpus: int
    gpus: tuple[int, ...]


class Room:
    """Which shapes of runs fit beside those that go on.

    Args:
        nodes: the cluster's, and those that it may get; looked at anew every LOOK_S.
        at_most: runs at once, whatever the nodes: on a cluster that grows when asked.
    """

    def __init__(
        self, nodes: Callable[[], Sequence[Node]], scoring: ScoringSpec, at_most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._ask, self._scoring, self._at_most, self._clock = nodes, scoring, at_most, clock
        self._going: dict[str, ResourceSpec] = {}
        self._holds: dict[str, list[Hold]] = {}  # of those that go on and have their places
        self._looked = clock()
        self._settle(tuple(nodes()))

    @property
    def going(self) -> list[str]:
        """The ids of runs that were taken, and have not left."""
        return list(self._going)

    def fits(self, shape: ResourceSpec) -> bool:
        """Whether one more run of that shape finds its place. Where none goes on, any does: it waits for its nodes."""
        self._look()
        if self._at_most is not None or not self._going:
            return len(self._going) < (self._at_most or 1)
        if len(self._holds) < len(self._going):  # some lost their node, and come first
            return False
        if shape not in self._known:
            self._known[shape] = place(self._needs(shape), list(self._free.values())) is not None
        return self._known[shape]

    def take(self, run: RunSpec) -> None:
        """That run is to start."""
        self._going[run.run_id] = run.resources
        self._seat(run.run_id)

    def leave(self, run_id: str) -> None:
        """It has ended, however."""
        self._going.pop(run_id, None)
        self._known.clear()
        for hold in self._holds.pop(run_id, ()):
            free = self._free[hold.node]
            gpus = tuple(left + held for left, held in zip(free.gpus, hold.gpus, strict=True))
            self._free[hold.node] = free._replace(cpus=free.cpus + hold.cpus, gpus=gpus)
        for waiting in [run_id for run_id in self._going if run_id not in self._holds]:
            self._seat(waiting)

    def _look(self) -> None:
        """Nodes come and go."""
        now = self._clock()
        if now - self._looked >= LOOK_S:
            self._looked = now
            if (nodes := tuple(self._ask())) != self._nodes:
                self._settle(nodes)

    def _settle(self, nodes: tuple[Node, ...]) -> None:
        """Place all that goes on upon these nodes, in the order of its starts."""
        self._nodes = nodes
        self._empty = beside_scoring(self._scoring, nodes)[0]
        self._free: dict[str, Free] = {free.node.name: free for free in self._empty}
        self._most: dict[ResourceSpec, list[Need]] = {}
        self._known: dict[ResourceSpec, bool] = {}
        self._holds.clear()
        for run_id in self._going:
            self._seat(run_id)

    def _needs(self, shape: ResourceSpec) -> list[Need]:
        """An elastic run begins when as many workers have room as the nodes hold: Ray does not look at what is busy."""
        if shape not in self._most:
            self._most[shape] = most_needs(shape, self._empty)
        return self._most[shape]

    def _seat(self, run_id: str) -> None:
        """Give it its places, where there are any."""
        before = list(self._free.values())
        after = place(self._needs(self._going[run_id]), before)
        if after is None:
            return
        self._known.clear()
        self._holds[run_id] = [_taken(old, new) for old, new in zip(before, after, strict=True) if old is not new]
        self._free = {free.node.name: free for free in after}


def _taken(old: Free, new: Free) -> Hold:
    gpus = tuple(before - left for before, left in zip(old.gpus, new.gpus, strict=True))
    return Hold(old.node.name, old.cpus - new.cpus, gpus)
