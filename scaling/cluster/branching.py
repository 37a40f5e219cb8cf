"""Trunks and branches: which run of a study with `horizons` starts next, and the states that branches begin with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from scaling.cluster.offers import Fits, Offer
from scaling.layout import branch_name, branch_names
from scaling.specs.run import RunSpec
from scaling.storage import Storage

LOOK_S = 1.0  # between two listings of a trunk's folder


class BranchStates:
    """The states of trunks, in a study's folder, that open runs begin with.

    Args:
        runs: open ones. n_samples: of each, by run_id.
    """

    def __init__(
        self, storage: Storage, runs: Sequence[RunSpec], n_samples: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._storage, self._clock = storage, clock
        starts = {run.run_id: (run.trunk, run.cooldown_start(n_samples[run.run_id])) for run in runs if run.trunk}
        self._names = {run_id: branch_name(trunk or "", step) for run_id, (trunk, step) in starts.items() if step}
        self._there: dict[str, set[str]] = {}
        self._looked: dict[str, float] = {}

    def is_there(self, run: RunSpec) -> bool:
        """Whether a branch can begin with its trunk's state; one that shares no step needs none."""
        name = self._names.get(run.run_id)
        return name is None or name in self._of(run.trunk or "", name)

    def _of(self, trunk: str, name: str) -> set[str]:
        """The names of a trunk's states, as listed a moment ago where the one asked for was not there."""
        now = self._clock()
        if name not in self._there.get(trunk, ()) and now - self._looked.get(trunk, -LOOK_S) >= LOOK_S:
            self._there[trunk] = set(branch_names(self._storage, trunk))
            self._looked[trunk] = now
        return self._there.get(trunk, set())

    def release(self, run_id: str) -> None:
        """A run that is not to be trained again needs its state no more; one that no other run needs is deleted."""
        name = self._names.pop(run_id, None)
        if name is not None and name not in self._names.values() and self._storage.exists(name):
            self._storage.delete(name)


class BranchOffers:
    """Hands out open runs, each once: trunks and runs without one first, then branches, the longest first.

    A branch starts as soon as its trunk's state is there, or its trunk goes on no more: it then begins with what there
    is. A shape that does not fit now is passed over.

    Args:
        cost: run_id -> expected time. is_there: of a branch's state. goes_on: of a run that is yet to end.
    """

    def __init__(
        self, runs: Sequence[RunSpec], cost: Mapping[str, float], is_there: Callable[[RunSpec], bool],
        goes_on: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._left, self._cost = list(runs), cost
        self._is_there, self._goes_on = is_there, goes_on

    @property
    def n_left(self) -> int:
        return len(self._left)

    def look(self, fits: Fits) -> Offer:
        if not self._left:
            return "over"
        ready = (run for run in self._left if fits(run.resources) and self._is_ready(run))
        first = min(ready, key=lambda run: (run.trunk is not None, -self._cost[run.run_id]), default=None)
        return "wait" if first is None else first

    def take(self, run: RunSpec) -> None:
        self._left.remove(run)

    def _is_ready(self, run: RunSpec) -> bool:
        return run.trunk is None or not self._goes_on(run.trunk) or self._is_there(run)
