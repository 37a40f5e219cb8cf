"""On the driver, while a study runs: checkpoints go to the scoring pool, faults into records, all of it to MLflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from scaling.cluster.actors import Checkpoint, Score, ScoringPool
from scaling.cluster.progress import Progress
from scaling.layout import delete_weights, weights_name
from scaling.ledger import CheckpointKey, OpenWork, Study
from scaling.records import EpochRecord, RunRecord, kept_epochs, needs_training, run_record
from scaling.specs.run import RunSpec
from scaling.tracking import Tracker

DRAIN_WAIT_S = 0.25


class StudyListener:
    """Turns what the workers report into scores to compute, records of failures, tracking and progress.

    Weights that are kept only until they are scored are deleted then.
    """

    def __init__(self, study: Study, work: OpenWork, pool: ScoringPool, tracker: Tracker, progress: Progress) -> None:
        self._study, self._pool, self._tracker, self._progress = study, pool, tracker, progress
        self._to_score, self._prune = dict(work.score), work.prune
        self._spent: defaultdict[str, set[int]] = defaultdict(set)  # run_id -> epochs whose weights are to be gone
        for run_id, epoch in work.prune - set(self._to_score):
            self._spent[run_id].add(epoch)
        training = {run.run_id for run in work.train}
        for run_id, epoch in work.score:
            if run_id not in training:
                self._submit((run_id, epoch))

    def on_start(self, run: RunSpec) -> None:
        self._progress.started(run)

    def on_epochs(self, run: RunSpec, records: Sequence[EpochRecord]) -> None:
        for record in records:
            self._progress.advanced(run, record.epoch)
            if record.accuracy is not None:
                self._submit((run.run_id, record.epoch))

    def on_end(self, run: RunSpec, error: str | None) -> None:
        """`error`: why the run's process was given up; a run that raised has its record already."""
        record = self._study.run_ended(run.run_id)
        if error is not None and needs_training(run, record):
            record = run_record(run, "failed", error)
            self._study.write_run(record)
        if record is not None and record.status != "finished":
            self._progress.say(f"{record.status.replace('_', ' ')}: {run.label()} ({run.run_id}): {record.reason}")
        if record is not None:
            self._submit_kept(record)
        # A run that went back to its resume file has written weights again that were deleted
        delete_weights(self._study.storage, run.run_id, self._spent[run.run_id])
        self._progress.ended(run, failed=record is None or record.status in ("failed", "out_of_memory"))
        self._tracker.run_changed(run.run_id)

    def on_tick(self) -> None:
        for score in self._pool.finished():
            self._took(score)
        self._progress.refresh()

    def drain(self) -> None:
        """Wait for all submitted scores."""
        while self._pool.n_open:
            for score in self._pool.finished(DRAIN_WAIT_S):
                self._took(score)
            self._progress.refresh()

    def _submit_kept(self, record: RunRecord) -> None:
        """Checkpoints that were kept before a restart and so were not reported again."""
        for epoch in kept_epochs(record):
            self._submit((record.run_id, epoch))

    def _submit(self, place: CheckpointKey) -> None:
        benchmarks = self._to_score.pop(place, None)
        if benchmarks:
            self._pool.submit(Checkpoint(*place, benchmarks))

    def _took(self, score: Score) -> None:
        run_id, epoch, _ = score.checkpoint
        self._progress.scored()
        self._study.scored(score.records)
        for record in score.records:
            if record.status == "failed":
                self._progress.say(f"not scored: {record.benchmark}, run {record.run_id}: {record.reason}")
        if score.error is not None:
            self._progress.say(f"not scored: run {run_id}, epoch {epoch}: {score.error}")
        elif (run_id, epoch) in self._prune and not self._study.lacking(run_id, epoch):
            self._spent[run_id].add(epoch)
            self._study.storage.delete(weights_name(run_id, epoch))
        self._tracker.run_changed(run_id)
