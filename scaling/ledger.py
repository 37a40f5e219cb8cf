"""What a study still lacks: the grid against the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaling.alignment.protocol import scoring_protocol
from scaling.alignment.suites.registry import benchmark_regions
from scaling.errors import StudyError
from scaling.layout import delete_weights, weights_name, weights_names
from scaling.records import ResultsStore, RunRecord, kept_epochs, needs_training
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study


@dataclass(frozen=True)
class OpenWork:
    """Runs to train, and (run_id, epoch) checkpoints to score once they exist.

    out_of_memory: run_ids that do not fit the resources they ask for, so that to train them again would be in vain.
    prune: checkpoints whose weights go once they are scored.
    """

    train: tuple[RunSpec, ...]
    score: tuple[tuple[str, int], ...]
    out_of_memory: tuple[str, ...] = ()
    prune: frozenset[tuple[str, int]] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.train or self.score or self.out_of_memory)


def open_work(study: StudySpec, store: ResultsStore) -> OpenWork:
    """Compare the grid with the store.

    Failed runs and failed scores are open again, diverged runs are not; one that ran out of memory is once it asks for
    other resources.

    Raises:
        StudyError: an ended run did not keep an epoch that is now to be scored, or its weights are pruned.
    """
    runs = expand_study(study)
    records = store.read_runs(run.run_id for run in runs)
    protocol = scoring_protocol(study.scoring, study.benchmarks)
    scores = [s for s in store.read_scores(run.run_id for run in runs) if s.status == "scored"]
    scored = {(s.run_id, s.epoch, s.benchmark) for s in scores if s.protocol == protocol}
    had_weights = {(s.run_id, s.epoch) for s in scores}
    benchmarks = benchmark_regions(study.benchmarks)
    train = tuple(run for run in runs if needs_training(run, records.get(run.run_id)))
    score: list[tuple[str, int]] = []
    for run in runs:
        lacking = [e for e in run.score_epochs if any((run.run_id, e, name) not in scored for name in benchmarks)]
        record = records.get(run.run_id)
        if record is not None and not needs_training(run, record):
            lacking = _scorable_epochs(run, record, lacking)
            _check_not_pruned(run, record, [e for e in lacking if (run.run_id, e) in had_weights], store.storage)
        score += [(run.run_id, e) for e in lacking]
    stuck = {run_id for run_id, record in records.items() if record.status == "out_of_memory"}
    prunable = ((run.run_id, e) for run in runs for e in study.checkpoints.prunable(run.training.epochs))
    return OpenWork(
        train, tuple(score), tuple(sorted(stuck - {run.run_id for run in train})), prune=frozenset(prunable)
    )


def _scorable_epochs(run: RunSpec, record: RunRecord, lacking: Sequence[int]) -> list[int]:
    """Which epochs that lack a score an ended run has kept."""
    kept = kept_epochs(record)
    lost = [epoch for epoch in lacking if epoch not in kept]
    if lost and record.status == "finished":
        raise StudyError(
            f"epoch {lost[0]} of finished run {run.run_id} ({run.label()}) is to be scored but was not kept "
            f"(kept: {', '.join(map(str, kept))}; checkpoints.score); score kept epochs, or give the study a new name"
        )
    return [epoch for epoch in lacking if epoch in kept]


def _check_not_pruned(run: RunSpec, record: RunRecord, epochs: Sequence[int], storage: Storage) -> None:
    """Refuse epochs that were scored once and whose weights are gone; one listing a run."""
    there = weights_names(storage, run.run_id) if epochs else []
    gone = [epoch for epoch in epochs if weights_name(run.run_id, epoch) not in there]
    if gone:
        left = [epoch for epoch in kept_epochs(record) if weights_name(run.run_id, epoch) in there]
        raise StudyError(
            f"epoch {gone[0]} of {record.status} run {run.run_id} ({run.label()}) lacks a score, but its weights were "
            f"pruned when it had all that were asked for (still there: {', '.join(map(str, left)) or 'none'}; "
            "checkpoints.prune); score epochs that are there, or give the study a new name"
        )


def prune_scored(work: OpenWork, storage: Storage) -> None:
    """Delete what is scored and was to go: a process killed between the two left it."""
    epochs: dict[str, list[int]] = {}
    for run_id, epoch in sorted(work.prune - set(work.score)):
        epochs.setdefault(run_id, []).append(epoch)
    for run_id in epochs:
        delete_weights(storage, run_id, epochs[run_id])
