"""Which run starts next: what Tune's search asks, without Ray. The longest, or what a study with a `stop` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from scaling.cluster.placement import shapes_in_turn
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec

if TYPE_CHECKING:
    from analysis.stopping.course import Course

Offer = RunSpec | Literal["wait", "over"]


class Offering(Protocol):
    """What Tune's search asks for the next run."""

    @property
    def n_left(self) -> int: ...

    def look(self) -> Offer: ...

    def take(self, run: RunSpec) -> None: ...


class LongestFirst:
    """Hands out open runs, each once: that which takes longest, by what is known of its cost when a slot is free.

    The resource shapes follow each other: actors are reused only between equal shapes, and gangs of different sizes
    never wait for each other's parts.

    Args:
        cost: run_id -> expected time; asked anew each time, see `measured.MeasuredCost`.
    """

    def __init__(self, runs: Sequence[RunSpec], cost: Mapping[str, float]) -> None:
        shapes: dict[ResourceSpec, dict[str, RunSpec]] = {shape: {} for shape in shapes_in_turn(runs)}
        for run in runs:
            shapes[run.resources][run.run_id] = run
        self._left, self._cost = shapes, cost

    @property
    def n_left(self) -> int:
        return sum(len(group) for group in self._left.values())

    def look(self) -> Offer:
        """The next run; "over" where none is left."""
        group = next((group for group in self._left.values() if group), None)
        return "over" if group is None else group[max(group, key=self._cost.__getitem__)]

    def take(self, run: RunSpec) -> None:
        """That run is started."""
        del self._left[run.resources][run.run_id]


class Offers:
    """Hands out the open runs of a course, each once, until it is enough or none is left.

    Args:
        runs: open ones, of any order.
        settled: whether nothing more is to come of a run, see `StudyListener.is_settled`.
        slots: how many runs of a resource shape go on at once.
    """

    def __init__(
        self, course: Course, runs: Sequence[RunSpec], settled: Callable[[str], bool],
        slots: Callable[[ResourceSpec], int],
    ) -> None:  # fmt: skip
        self._course, self._settled = course, settled
        self._left = {run.run_id: run for run in runs}
        self._n_slots = max((slots(shape) for shape in {run.resources for run in runs}), default=1)

    @property
    def n_left(self) -> int:
        return len(self._left)

    @property
    def enough(self) -> str:
        """What is known, once it is enough."""
        return self._course.text() if self._course.enough else ""

    def look(self) -> Offer:
        """The next run; "wait" where that depends on runs that go on or are scored; "over" where there is none."""
        self._course.advance(self._settled)
        if self._course.enough or not self._left:
            return "over"
        may = self._course.may_start(self._n_slots)
        return next((self._left[run_id] for run_id in may if run_id in self._left), "wait")

    def take(self, run: RunSpec) -> None:
        """That run is started."""
        del self._left[run.run_id]
