"""What a study lacks, and what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scaling.layout import branch_names
from scaling.score_book import CheckpointKey as CheckpointKey
from scaling.specs.run import RunSpec
from scaling.storage import Storage


@dataclass(frozen=True)
class Enough:
    """Why a study ends early, in words, and what is left out: runs that were not trained, with their FLOP.

    share: of the whole grid's FLOP that is left out. whole: everything that is open, what is left out too.
    """

    text: str
    left_out: tuple[tuple[RunSpec, float], ...]
    share: float
    whole: OpenWork = field(repr=False)

    @property
    def flops(self) -> float:
        return sum(flops for _, flops in self.left_out)


@dataclass(frozen=True)
class OpenWork:
    """What a study lacks.

    train: runs to train. score: checkpoint -> benchmarks that it is to be scored on once it exists. out_of_memory:
    run_ids that do not fit the resources they ask for, so that to train them again would be in vain. gone: finished
    runs whose weights are missed, and why; they are among those to train. prune: checkpoints whose weights go once they
    are scored. enough: of a study whose `stop` is reached; the runs that it leaves out are not among those to train.
    """

    train: tuple[RunSpec, ...] = ()
    score: dict[CheckpointKey, tuple[str, ...]] = field(default_factory=dict)
    out_of_memory: tuple[str, ...] = ()
    gone: dict[str, str] = field(default_factory=dict)
    prune: frozenset[CheckpointKey] = frozenset()
    enough: Enough | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.train or self.score or self.out_of_memory)

    @property
    def whole(self) -> OpenWork:
        """With what is left out: it is trained after all, should a run that is tried again change what is known."""
        return self if self.enough is None else self.enough.whole


def prune_branches(storage: Storage, runs: Sequence[RunSpec], work: OpenWork) -> None:
    """Delete the states of trunks whose branches have all ended; a process that was killed may have left them.

    Args:
        runs: of the study whose folder `storage` is.
    """
    needed = {run.trunk for run in work.train}
    for trunk in (run.run_id for run in runs if run.branches and run.run_id not in needed):
        for name in branch_names(storage, trunk):
            storage.delete(name)
