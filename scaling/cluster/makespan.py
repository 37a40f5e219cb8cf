"""How long runs take on a cluster: the queue's own order and places, with times in place of training."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from scaling.cluster.measured import cost_shape
from scaling.cluster.offers import LongestFirst
from scaling.cluster.room import Room
from scaling.specs.run import RunSpec


def makespan(train_s: Mapping[RunSpec, float], room: Room) -> float:
    """Seconds from the first start to the last end of list scheduling, as `schedule.train_runs` starts runs.

    Args:
        train_s: of each run, alone in its place. room: nothing goes on there yet.
    """
    by_id = {run.run_id: seconds for run, seconds in train_s.items()}
    offers = LongestFirst(list(train_s), by_id, cost_shape)
    going: list[tuple[float, str]] = []
    now = 0.0
    while offers.n_left or going:
        while not isinstance(run := offers.look(room.fits), str):
            offers.take(run)
            room.take(run)
            heapq.heappush(going, (now + by_id[run.run_id], run.run_id))
        now, ended = heapq.heappop(going)
        room.leave(ended)
    return now
