"""On the driver, while a study runs: checkpoints go to the scoring pool, faults into records, all of it to MLflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from scaling.cluster.failures import failed_record
from scaling.cluster.measured import MeasuredCost
from scaling.cluster.progress import Progress
from scaling.cluster.retries import Checkpoint
from scaling.layout import delete_weights, weights_name
from scaling.ledger import CheckpointKey, OpenWork, Study
from scaling.records import EpochRecord, RunRecord, kept_epochs, needs_training
from scaling.specs.run import RunSpec
from scaling.tracking import Tracker

if TYPE_CHECKING:
    from scaling.cluster.actors import Score

DRAIN_WAIT_S = 0.25
GATHER_FROM = 512  # runs that have ended: their rows go from files of their own into few
NO_WORD = "its process ended without a record"


class Pool(Protocol):
    """Scores what is submitted, see `actors.ScoringPool`."""

    @property
    def n_open(self) -> int: ...

    def submit(self, checkpoint: Checkpoint) -> None: ...

    def finished(self, timeout_s: float = 0.0) -> Iterator[Score]: ...


class StudyListener:
    """Turns what the workers report into scores to compute, records of failures, tracking and progress.

    Weights that are kept only until they are scored are deleted then.

    Args:
        check: called a few times a second; raises where the study is to stop.
        release: called of a run that is not to be trained again, see `branching.BranchStates`.
        cost: learns from epochs and first steps what runs take.
    """

    def __init__(
        self,
        study: Study,
        work: OpenWork,
        pool: Pool,
        tracker: Tracker,
        progress: Progress,
        check: Callable[[], None] = lambda: None,
        release: Callable[[str], None] = lambda run_id: None,
        cost: MeasuredCost | None = None,
    ) -> None:
        self._study, self._pool, self._tracker, self._progress = study, pool, tracker, progress
        self._check, self._release, self._cost = check, release, cost
        self._to_score, self._prune = dict(work.score), work.prune
        self._lost: dict[str, str] = {}  # run_id -> why weights of a run that still trains could not be scored
        self._spent: defaultdict[str, set[int]] = defaultdict(set)  # run_id -> epochs whose weights are to be gone
        for run_id, epoch in work.prune - set(self._to_score):
            self._spent[run_id].add(epoch)
        self._training = {run.run_id for run in work.train}
        self._n_ended = 0
        self._scoring: set[CheckpointKey] = set()
        for run_id, epoch in work.score:
            if run_id not in self._training:
                self._submit((run_id, epoch))

    def on_start(self, run: RunSpec) -> None:
        self._progress.started(run)

    def on_epochs(self, run: RunSpec, records: Sequence[EpochRecord]) -> None:
        if records:
            self._tracker.epochs_ended(run, records)
        for record in records:
            if self._cost is not None:
                self._cost.learn_epoch(run, record)
            self._progress.advanced(run, record)
            if record.accuracy is not None:
                self._submit((run.run_id, record.epoch))

    def on_steps(self, run: RunSpec, images: float, seconds: float) -> None:
        """Before a run's first epoch: so long for so many of its images."""
        if self._cost is not None:
            self._cost.learn_steps(run, images, seconds)

    def on_end(self, run: RunSpec, error: str | None) -> None:
        """`error`: why the run was given up; None: its process ended, and should have left a record."""
        self._training.discard(run.run_id)
        record = self._ended(run, error)
        if record.status not in ("finished", "cut"):
            self._progress.say(f"{record.status.replace('_', ' ')}: {run.label()} ({run.run_id}): {record.reason}")
        if not needs_training(run, record):
            self._release(run.run_id)
        self._submit_kept(record)
        if run.run_id in self._lost:
            self._reopen(run.run_id, self._lost.pop(run.run_id))
        # A run that went back to its resume file has written weights again that were deleted
        delete_weights(self._study.storage, run.run_id, self._spent[run.run_id])
        self._progress.ended(run, failed=record.status in ("failed", "out_of_memory"))
        self._tracker.run_changed(run.run_id)
        self._n_ended += 1
        if self._n_ended % GATHER_FROM == 0:
            self._study.gather(busy=self._training | {run_id for run_id, _ in self._scoring}, at_least=GATHER_FROM)

    def on_tick(self) -> None:
        self._check()
        for score in self._pool.finished():
            self._took(score)
        self._progress.refresh()

    def drain(self) -> None:
        """Wait for all submitted scores."""
        while self._pool.n_open:
            self._check()
            for score in self._pool.finished(DRAIN_WAIT_S):
                self._took(score)
            self._progress.refresh()

    def goes_on(self, run_id: str) -> bool:
        """Whether a run is open and has not ended yet."""
        return run_id in self._training

    def is_settled(self, run_id: str) -> bool:
        """Whether nothing more is to come of a run: it has ended, and what can be scored of it was."""
        return run_id not in self._training and not any(scored == run_id for scored, _ in self._scoring)

    def _ended(self, run: RunSpec, error: str | None) -> RunRecord:
        """The record of this try; a run that left none, or only that of an earlier try, gets one that says why."""
        before = self._study.records.get(run.run_id)
        record = self._study.run_ended(run.run_id)
        own = record is not None and (not needs_training(run, record) or (error is None and record != before))
        if record is None or not own:
            record = failed_record(run, error or NO_WORD)
            self._study.write_run(record)
        return record

    def _reopen(self, run_id: str, reason: str) -> None:
        """Weights that are lost come back by a new training only."""
        record = self._study.records.get(run_id)
        if run_id in self._training or record is None:
            self._lost[run_id] = reason
        elif record.status == "finished":
            self._study.reopen(run_id, reason)
            self._progress.say(f"to be trained again, by the next `scaling run`: run {run_id}: {reason}")

    def _submit_kept(self, record: RunRecord) -> None:
        """Checkpoints that were kept before a restart and so were not reported again."""
        for epoch in kept_epochs(record):
            self._submit((record.run_id, epoch))

    def _submit(self, place: CheckpointKey) -> None:
        benchmarks = self._to_score.pop(place, None)
        if benchmarks:
            self._scoring.add(place)
            self._pool.submit(Checkpoint(*place, benchmarks))

    def _took(self, score: Score) -> None:
        run_id, epoch, _ = score.checkpoint
        self._scoring.discard((run_id, epoch))
        self._study.scored(score.records)
        if score.error is None and all(record.status == "scored" for record in score.records):
            self._progress.scored()
        for record in score.records:
            if record.status == "failed":
                self._progress.say(f"not scored: {record.benchmark}, run {record.run_id}: {record.reason}")
        if score.error is not None:
            self._progress.say(f"not scored: run {run_id}, epoch {epoch}: {score.error}")
        elif (run_id, epoch) in self._prune and not self._study.lacking(run_id, epoch):
            self._spent[run_id].add(epoch)
            self._study.storage.delete(weights_name(run_id, epoch))
        if score.lost:
            self._reopen(run_id, score.error or "")
        self._tracker.run_changed(run_id)
