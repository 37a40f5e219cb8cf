"""Which run starts next: what Tune's search asks, without Ray. The longest, or what a study with a `stop` says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec

if TYPE_CHECKING:
    from analysis.stopping.course import Course

Offer = RunSpec | Literal["wait", "over"]
Fits = Callable[[ResourceSpec], bool]  # whether a run of that shape finds its place now, see `room.Room`


class Offering(Protocol):
    """What Tune's search asks for the next run."""

    @property
    def n_left(self) -> int: ...

    def look(self, fits: Fits) -> Offer:
        """The next run that fits; "wait" where that needs room, scores or a trunk; "over" where none is to come."""

    def take(self, run: RunSpec) -> None:
        """That run is started."""


class LongestFirst:
    """Hands out open runs, each once: of those that fit, that which takes longest.

    All resource shapes stand in one queue: a shape that does not fit now is passed over, so that no slot is empty while
    a run that fits it is open. Longest first is list scheduling by LPT (Graham 1969).

    Args:
        cost: run_id -> expected time; asked anew each time, see `measured.MeasuredCost`.
        kind: runs of a kind keep their order, however costs change; only the first of each is compared.
    """

    def __init__(
        self, runs: Sequence[RunSpec], cost: Mapping[str, float],
        kind: Callable[[RunSpec], Hashable] = lambda run: run.run_id,
    ) -> None:  # fmt: skip
        queues = defaultdict[Hashable, list[RunSpec]](list)
        for run in sorted(runs, key=lambda run: cost[run.run_id]):  # the longest last, where it is taken
            queues[run.resources, kind(run)].append(run)
        self._queues, self._cost, self._kind = dict(queues), cost, kind
        self.n_left = len(runs)

    def look(self, fits: Fits) -> Offer:
        if not self._queues:
            return "over"
        shapes = {shape for shape in {queue[-1].resources for queue in self._queues.values()} if fits(shape)}
        heads = (queue[-1] for queue in self._queues.values() if queue[-1].resources in shapes)
        longest = max(heads, key=lambda run: self._cost[run.run_id], default=None)
        return "wait" if longest is None else longest

    def take(self, run: RunSpec) -> None:
        key = run.resources, self._kind(run)
        self._queues[key].remove(run) if self._queues[key][-1] != run else self._queues[key].pop()
        self.n_left -= 1
        if not self._queues[key]:
            del self._queues[key]


class Offers:
    """Hands out the open runs of a course, each once, until it is enough or none is left.

    Args:
        runs: open ones, of any order.
        settled: whether nothing more is to come of a run, see `StudyListener.is_settled`.
        n_slots: runs at once, at most.
    """

    def __init__(self, course: Course, runs: Sequence[RunSpec], settled: Callable[[str], bool], n_slots: int) -> None:
        self._course, self._settled, self._n_slots = course, settled, n_slots
        self._left = {run.run_id: run for run in runs}

    @property
    def n_left(self) -> int:
        return len(self._left)

    @property
    def enough(self) -> str:
        """What is known, once it is enough."""
        return self._course.text() if self._course.enough else ""

    def look(self, fits: Fits) -> Offer:
        """The next run of the course, which waits for its room: what is known at the end depends on the order."""
        self._course.advance(self._settled)
        if self._course.enough or not self._left:
            return "over"
        may = self._course.may_start(self._n_slots)
        run = next((self._left[run_id] for run_id in may if run_id in self._left), None)
        return "wait" if run is None or not fits(run.resources) else run

    def take(self, run: RunSpec) -> None:
        del self._left[run.run_id]
