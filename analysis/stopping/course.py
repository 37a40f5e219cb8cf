"""The course of a study that stops: which runs go next, when it is looked at, and when it is enough.

Runs have an order: cheapest first, or, informative, `round` further ones chosen at each look. After every `round` runs
of the order that are settled (scored, or known to give no score) the rule looks at exactly those, whatever else has
ended by then: a driver that was killed, or has more workers, takes the same decisions from the same records. It is
enough once the rule holds at a look and at the STAYS looks that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping, Sequence
from typing import TYPE_CHECKING

from analysis.stopping.delta import Candidate, choose
from analysis.stopping.rule import Look, StopRule, look_at

if TYPE_CHECKING:
    import pandas as pd

# Looks that must follow and hold too. Planted laws (5 x 6 x 2 runs, bench_stopping.py): intervals at a first look cover
# in 90 of 100 studies, at the third in 94, as those of all runs do.
STAYS = 2
AHEAD = 2  # rounds that may be started beyond the last look, so that none waits for scores

FrameOf = Callable[[Collection[str]], "pd.DataFrame | None"]


class Course:
    """See the module.

    Args:
        candidates: all runs of the grid, in its order.
        frame_of: run_ids -> rows of their scores, one a run and benchmark.
        memo: looks by what they looked at; share it to look once.
    """

    def __init__(
        self, rule: StopRule, candidates: Sequence[Candidate], frame_of: FrameOf,
        memo: MutableMapping[str, Look] | None = None,
    ) -> None:  # fmt: skip
        self.rule = rule
        self._frame_of, self._memo = frame_of, {} if memo is None else memo
        self._cheapest = sorted(candidates, key=lambda c: c.flops)  # stable: the grid's order within a cost
        n = len(candidates) if rule.order == "cheapest" else AHEAD * rule.round
        self.sequence = self._cheapest[:n]
        self.looks: list[Look] = []

    @property
    def enough(self) -> bool:
        last = self.looks[-1 - STAYS :]
        return len(last) == 1 + STAYS and all(look.within for look in last)

    @property
    def n_looked(self) -> int:
        """Runs of the order that the last look had."""
        return self.looks[-1].n_runs if self.looks else 0

    def advance(self, settled: Callable[[str], bool]) -> None:
        """Take every look that can be taken. settled: whether nothing more is to come of a run."""
        while not self.enough:
            n = self.n_looked + self.rule.round
            part = self.sequence[:n]
            if n > len(self.sequence) or not all(settled(c.run_id) for c in part):
                return
            self.looks.append(self._look(part))
            self._extend()

    def may_start(self, n_slots: int = 1) -> list[str]:
        """Runs that may start now, in order: up to AHEAD rounds, or n_slots runs, beyond the last look."""
        if self.enough:
            return []
        return [c.run_id for c in self.sequence[: self.n_looked + max(AHEAD * self.rule.round, n_slots)]]

    def beyond(self) -> list[Candidate]:
        """What is left out once it is enough: runs that the last look did not have, cheapest first."""
        looked = {c.run_id for c in self.sequence[: self.n_looked]}
        return [c for c in self._cheapest if c.run_id not in looked]

    def text(self) -> str:
        """What is known, as a sentence."""
        rule = self.rule
        what = f"{rule.region} at {rule.budget:.3g} FLOP"
        if not self.looks:
            return f"{what}: not looked at yet (that comes after {rule.round} scored runs)"
        known = "; ".join(one.text() for one in self.looks[-1].known)
        said = (
            f"within a factor of {rule.factor:g}"
            if self.looks[-1].within
            else f"not within a factor of {rule.factor:g}"
        )
        apart = f"{rule.round} runs" if rule.round > 1 else "a run"
        stayed = f" in {1 + STAYS} looks, {apart} apart" if self.enough else ""
        return f"{what}, {known}: {said}{stayed}, from {self.n_looked} of {len(self._cheapest)} runs"

    def _look(self, part: Sequence[Candidate]) -> Look:
        ids = [c.run_id for c in part]
        frame = _in_order(self._frame_of(ids))
        key = repr((self.rule, len(ids), None if frame is None else _mark(frame)))
        if key not in self._memo:
            self._memo[key] = look_at(frame, self.rule, len(ids))
        return self._memo[key]

    def _extend(self) -> None:
        """An informative order goes on by a round, from what the last look knew."""
        taken = {c.run_id for c in self.sequence}
        left = [c for c in self._cheapest if c.run_id not in taken]
        if not left:
            return
        known = {part.family: part for part in self.looks[-1].linear}
        dark = [c for c in left if c.family in self.rule.splits and c.family not in known]
        if dark:  # a family that no law is known of yet
            self.sequence += dark[: self.rule.round]
            return
        open_ones = [one.family for one in self.looks[-1].known if not one.within] or list(known)
        linear = [known[name] for name in open_ones]
        self.sequence += choose(linear, self.sequence, left, self.rule.round, self.rule.run_flops)


def _in_order(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """Rows in an order of their own: a bootstrap depends on it, and scores arrive in any."""
    if frame is None or not len(frame):
        return None
    return frame.sort_values([name for name in ("run_id", "benchmark") if name in frame], ignore_index=True)


def _mark(frame: pd.DataFrame) -> str:
    """Tells frames apart, whatever the order of their rows."""
    from analysis.answers.saved import fingerprint
    from analysis.table import ScalingTable

    return fingerprint(ScalingTable(frame))
