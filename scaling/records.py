"""Facts about runs and scores, and the store that keeps them: Parquet, one file a run and one a scored checkpoint."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import pyarrow as pa

from scaling.journal import FILES, Journal
from scaling.layout import EPOCHS, RUNS, SCORES, epochs_name, run_name, scores_name
from scaling.rows import Record, records_of, table_of
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

RunStatus = Literal["finished", "diverged", "failed", "out_of_memory", "cut"]
SETTLED: frozenset[RunStatus] = frozenset({"finished", "diverged", "cut"})  # never trained again
SCORE_KEYS = ("run_id", "epoch", "benchmark", "protocol")


class RunRecord(Record):
    """One finished, diverged or failed run, or one that its workers' memory did not hold.

    n_params N; n_samples unique training images; samples_seen D; flops C = passes . flops_per_image . samples_seen;
    flops_per_image = 2 . MACs of one forward pass; loss = mean training loss of the last epoch; accuracy in [0, 1]
    on all held-out images; train_s = seconds spent in training and evaluation; started_at, ended_at = Unix time of the
    attempt that ended the run. A failed run keeps what is known.
    images_per_s, flops_per_s: of training steps, over all workers; compute_share: of train_s, what was spent in steps
    and not in waiting for images, evaluation or checkpoints; variant: a model's name where width and depth leave it
    open; n_skipped: images left out because they could not be decoded; flops_spent: of C what was computed for this run
    alone: what it shares with its trunk is the trunk's (None in records of earlier versions: all of C).
    computing: JSON, how its steps were computed on its device, see `train.computing.Computing`.
    validation_loss: of a probe, after its last epoch; a probe that is 'cut' was ended by its scheduler, and is not
    trained again.
    """

    run_id: str
    study: str
    status: RunStatus
    reason: str | None
    family: str
    size: int
    depth: int | None
    dataset: str
    image_size: int | None
    images_per_class: int | None
    n_samples: int | None
    seed: int
    objective: str
    epochs: int
    epochs_done: int
    kept_epochs: str
    n_params: int | None
    flops_per_image: float | None
    samples_seen: int | None
    flops: float | None
    loss: float | None
    accuracy: float | None
    train_s: float | None
    started_at: float | None
    ended_at: float | None
    spec: str
    images_per_s: float | None = None
    flops_per_s: float | None = None
    compute_share: float | None = None
    variant: str | None = None
    n_skipped: int | None = None
    flops_spent: float | None = None
    validation_loss: float | None = None
    computing: str | None = None


def run_record(run: RunSpec, status: RunStatus, reason: str | None, **known: object) -> RunRecord:
    """A RunRecord with the spec's own columns filled in; what is not known is null."""
    facts = {
        "image_size": run.dataset.image_size,
        "n_samples": None,
        "epochs_done": 0,
        "n_params": None,
        "flops_per_image": None,
        "samples_seen": None,
        "flops": None,
        "loss": None,
        "accuracy": None,
        "train_s": None,
        "started_at": None,
        "ended_at": None,
    } | known
    kept = facts.pop("kept", ())
    return RunRecord.model_validate(
        {
            "run_id": run.run_id,
            "study": run.study,
            "status": status,
            "reason": reason,
            "family": run.model.family_name,
            "size": run.model.size,
            "depth": run.model.depth,
            "variant": run.model.variant,
            "dataset": run.dataset.name,
            "images_per_class": run.images_per_class,
            "seed": run.seed,
            "objective": objective_spec(run.objective).name,
            "epochs": run.training.epochs,
            "kept_epochs": json.dumps(kept),
            "spec": run.model_dump_json(),
            **facts,
        }
    )


class AlignmentRecord(Record):
    """One checkpoint on one benchmark.

    raw: the metric on the scored stimuli, raw_error its standard error, [raw_low, raw_high] its 95 %
    bootstrap interval; ceiling: what the noiseless truth would reach (None: unknown); score: of raw and ceiling by the
    convention `ceiled` (= raw without a ceiling); layer: committed to as `commitment` says, on the selection stimuli,
    where it had selection_raw; selection_leak: what choosing it on the scored half would have added to raw there;
    layer_scores: JSON, every candidate layer's raw where the choice was made. protocol: the settings of scoring.
    samples_seen, flops and accuracy are those of the checkpoint, None of a model of a zoo. A failed score has a reason.

    n_subjects; subject_scores: JSON, each subject's raw, ceiling, score and number of units; interval_of: what the
    interval speaks of, such as 'stimuli and subjects (4)' or 'stimuli and units; N and F alone'. mapping_samples:
    stimuli that the mapping is fitted on; mapping_curve: JSON, scores of the same layer's mappings on fewer.
    ceiling_low, ceiling_high: bounds between subjects, where the ceiling lies between two. draws: JSON, raw in each of
    the interval's bootstrap draws, which are the same for every model that is scored by the same protocol.
    """

    run_id: str
    epoch: int
    samples_seen: int | None
    flops: float | None
    accuracy: float | None
    benchmark: str
    region: str
    metric: str
    layer: str | None
    commitment: str | None = None
    raw: float | None
    raw_error: float | None = None
    raw_low: float | None = None
    raw_high: float | None = None
    ceiling: float | None
    ceiling_kind: str
    ceiled: str = "r/c"
    score: float | None
    n_stimuli: int
    n_neuroids: int | None
    selection_raw: float | None
    selection_leak: float | None = None
    layer_scores: str | None = None
    protocol: str = ""
    status: Literal["scored", "failed"]
    reason: str | None
    score_s: float
    n_subjects: int | None = None
    subject_scores: str | None = None
    interval_of: str | None = None
    mapping_samples: int | None = None
    mapping_curve: str | None = None
    ceiling_low: float | None = None
    ceiling_high: float | None = None
    draws: str | None = None


class EpochRecord(Record):
    """One epoch of a run's training: mean loss, the rate at its end, accuracy where it was measured.

    images_per_s, compute_share, validation_loss: as in RunRecord, of this epoch. ended_at: Unix time. host: name of
    the node that trained it, of several workers the first's; node_use: JSON, how much of that node was in use,
    by all that ran there meanwhile, see `train.node_use`.
    """

    run_id: str
    epoch: int
    samples_seen: int
    flops: float
    loss: float | None
    lr: float | None
    accuracy: float | None
    epoch_s: float
    images_per_s: float | None = None
    compute_share: float | None = None
    validation_loss: float | None = None
    ended_at: float | None = None
    host: str | None = None
    node_use: str | None = None


class ResultsStore:
    """The rows in a study's folder: `runs`, `scores` and `epochs`, see `scaling.layout`.

    Every file has one writer and appears whole, so no lock is needed. A file of an earlier version may lack columns
    that have a default, which then fills them. `pandas.read_parquet(folder / 'runs')` and DuckDB's
    `read_parquet('scores/*.parquet')` read them without this code (`union_by_name=true` where versions mix).

    Rows of ended runs are gathered into few files, see `journal`. Those who read without this code see a row twice only
    where it was written again after it was gathered, or where a driver was killed while it gathered, and until the next
    `scaling run` ends; the last in the order of file names is the valid one: `drop_duplicates("run_id", keep="last")`
    (of scores: run_id, epoch, benchmark and protocol).

    A file of one run that is damaged counts as absent, so that its run is trained or scored again and the file is
    written anew. One that holds gathered rows is refused: only people can tell whether there is a copy of it.

    Attributes:
        damaged: of the files read so far, those that were, and why.

    Every method that reads raises StudyError for a file of another version, DamagedFile for damaged gathered rows and
    StorageError where the place does not answer.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.damaged: dict[str, str] = {}
        self._runs = Journal(storage, RUNS, RunRecord, ["run_id"], self.damaged)
        self._epochs = Journal(storage, EPOCHS, EpochRecord, ["run_id"], self.damaged)
        self._scores = Journal(storage, SCORES, AlignmentRecord, SCORE_KEYS, self.damaged)

    def write_run(self, record: RunRecord) -> None:
        self._runs.write(run_name(record.run_id), table_of(RunRecord, [record]))

    def reopen(self, record: RunRecord, reason: str) -> RunRecord:
        """Write a run back as failed, because what it kept is of no use: it is to be trained again. Its new record."""
        failed = record.model_copy(update={"status": "failed", "reason": reason})
        self.write_run(failed)
        return failed

    def write_scores(self, records: Sequence[AlignmentRecord]) -> None:
        """Scores of one checkpoint: each takes the place of the one by the same protocol on its benchmark."""
        if not records:
            return
        name = scores_name(records[0].run_id, records[0].epoch)
        new = {(record.benchmark, record.protocol) for record in records}
        before = records_of(AlignmentRecord, self._scores.read_single(name))
        kept = [row for row in before if (row.benchmark, row.protocol) not in new]
        self._scores.write(name, table_of(AlignmentRecord, [*kept, *records]))

    def write_epochs(self, records: Sequence[EpochRecord]) -> None:
        self._epochs.write(epochs_name(records[0].run_id), table_of(EpochRecord, records))

    def read_runs(self, run_ids: Iterable[str] | None = None) -> dict[str, RunRecord]:
        found = records_of(RunRecord, self._runs.read(run_ids))
        return {record.run_id: record for record in sorted(found, key=lambda record: record.run_id)}

    def read_run(self, run_id: str) -> RunRecord | None:
        own = self._runs.read_single(run_name(run_id))
        table = own if own.num_rows else self._runs.read_run(run_id, [run_name(run_id)])
        return next(iter(records_of(RunRecord, table)), None)

    def read_scores(self, run_ids: Iterable[str] | None = None) -> list[AlignmentRecord]:
        found = records_of(AlignmentRecord, self.scores_table(run_ids))
        return sorted(found, key=lambda record: (record.run_id, record.epoch))

    def scores_table(self, run_ids: Iterable[str] | None = None) -> pa.Table:
        """Scores as rows of a table, those of a checkpoint in their order: as records, many take minutes."""
        return self._scores.read(run_ids)

    def read_checkpoint_scores(self, run_id: str, epoch: int) -> list[AlignmentRecord]:
        """What a scoring actor left of a checkpoint that is being scored; what was gathered is not looked through."""
        return records_of(AlignmentRecord, self._scores.read_single(scores_name(run_id, epoch)))

    def read_epochs(self, run_id: str) -> list[EpochRecord]:
        own = self._epochs.read_single(epochs_name(run_id))
        table = own if own.num_rows else self._epochs.read_run(run_id, [epochs_name(run_id)])
        return records_of(EpochRecord, table)

    def gather(self, busy: Collection[str] = (), at_least: int = FILES) -> None:
        """Gather the files of ended runs, see `journal`; to be called by a driver alone.

        Args:
            busy: runs that something may still be written of.
        """
        ended = {run_id for run_id, record in self.read_runs().items() if record.status in SETTLED} - set(busy)
        for journal in (self._scores, self._epochs, self._runs):
            journal.gather(ended.__contains__, at_least)


def needs_training(run: RunSpec, record: RunRecord | None) -> bool:
    """Whether a run is to be trained, now or again.

    A failed run is. One that ran out of memory is once its `resources` are others than those that did not hold it:
    they are no part of the run's id.
    """
    if record is None or record.status == "failed":
        return True
    return record.status == "out_of_memory" and RunSpec.model_validate_json(record.spec).resources != run.resources


def kept_epochs(record: RunRecord) -> tuple[int, ...]:
    """The epochs whose weights the run kept."""
    return tuple(json.loads(record.kept_epochs))
