"""Facts about runs and scores, and the store that keeps them: Parquet, one file a run and one a scored checkpoint."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from scaling.errors import DamagedFile, MissingFile, StudyError
from scaling.layout import RUNS, SCORES, epochs_name, owner, row_names, run_name, scores_name
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

RunStatus = Literal["finished", "diverged", "failed", "out_of_memory", "cut"]
RecordT = typing.TypeVar("RecordT", bound="Record")


class Record(BaseModel):
    """One row: frozen, typed, with the same Parquet columns in every file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def schema_arrow(cls) -> pa.Schema:
        hints = typing.get_type_hints(cls)
        return pa.schema([(name, _arrow_type(hints[name])) for name in cls.model_fields])


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

    raw: the metric on the scored stimuli, raw_error its standard error over splits, [raw_low, raw_high] its 95 %
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

    images_per_s, compute_share, validation_loss: as in RunRecord, of this epoch.
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


class ResultsStore:
    """The rows in a study's folder: `runs`, `scores` and `epochs`, see `scaling.layout`.

    Every file has one writer and appears whole, so no lock is needed. A file of an earlier version may lack columns
    that have a default, which then fills them. `pandas.read_parquet(folder / 'runs')` and DuckDB's
    `read_parquet('scores/*.parquet')` read them without this code (`union_by_name=true` where versions mix).

    A file that is damaged counts as absent, so that its run is trained or scored again and the file is written anew.

    Attributes:
        damaged: of the files read so far, those that were, and why.

    Every method that reads raises StudyError for a file of another version and StorageError where the place does not
    answer.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.damaged: dict[str, str] = {}

    def write_run(self, record: RunRecord) -> None:
        self._write(run_name(record.run_id), [record])

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
        kept = [row for row in self._read(name, AlignmentRecord) if (row.benchmark, row.protocol) not in new]
        self._write(name, [*kept, *records])

    def write_epochs(self, records: Sequence[EpochRecord]) -> None:
        self._write(epochs_name(records[0].run_id), records)

    def read_runs(self, run_ids: Iterable[str] | None = None) -> dict[str, RunRecord]:
        return {record.run_id: record for record in self._read_folder(RUNS, RunRecord, run_ids)}

    def read_run(self, run_id: str) -> RunRecord | None:
        return next(iter(self._read(run_name(run_id), RunRecord)), None)

    def read_scores(self, run_ids: Iterable[str] | None = None) -> list[AlignmentRecord]:
        return self._read_folder(SCORES, AlignmentRecord, run_ids)

    def read_checkpoint_scores(self, run_id: str, epoch: int) -> list[AlignmentRecord]:
        return self._read(scores_name(run_id, epoch), AlignmentRecord)

    def read_epochs(self, run_id: str) -> list[EpochRecord]:
        return self._read(epochs_name(run_id), EpochRecord)

    def _write(self, name: str, records: Sequence[Record]) -> None:
        schema = records[0].schema_arrow()
        table = pa.Table.from_pylist([record.model_dump() for record in records], schema=schema)
        with self.storage.new_file(name) as path:
            pq.write_table(table, path)
        self.damaged.pop(name, None)

    def _read_folder(self, folder: str, kind: type[RecordT], run_ids: Iterable[str] | None) -> list[RecordT]:
        wanted = None if run_ids is None else set(run_ids)
        names = [name for name in row_names(self.storage, folder) if wanted is None or owner(name) in wanted]
        return [record for name in names for record in self._read(name, kind)]

    def _read(self, name: str, kind: type[RecordT]) -> list[RecordT]:
        """A file's rows; none of a file that is absent or damaged."""
        try:
            records = self._rows(name, kind)
            if any(getattr(record, "run_id") != owner(name) for record in records):  # noqa: B009
                raise DamagedFile("it holds rows of another run")
        except MissingFile:
            return []
        except DamagedFile as error:
            self.damaged[name] = str(error)
            return []
        return records

    def _rows(self, name: str, kind: type[RecordT]) -> list[RecordT]:
        content = self.storage.read_bytes(name)
        try:
            table = pq.read_table(pa.BufferReader(content))
            required = (field for field, about in kind.model_fields.items() if about.is_required())
            missing = [field for field in required if field not in table.column_names]
            rows = table.select([field for field in kind.model_fields if field in table.column_names]).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DamagedFile(f"no whole Parquet file: {' '.join(str(error).split())}") from error
        if missing:
            raise self._other_version(name, f"lacks the column '{missing[0]}'")
        if not rows:
            raise DamagedFile("it holds no row")
        try:
            return [kind.model_validate(row) for row in rows]
        except ValidationError as error:
            column = ".".join(map(str, error.errors()[0]["loc"]))
            raise self._other_version(name, f"has in '{column}': {error.errors()[0]['msg']}") from error

    def _other_version(self, name: str, difference: str) -> StudyError:
        return StudyError(
            f"'{self.storage.path(name)}' {difference}; it was written by another version: use that version or a new "
            "study name"
        )


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


def _arrow_type(hint: Any) -> pa.DataType:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) is Literal:
        return pa.string()
    return {str: pa.string(), int: pa.int64(), float: pa.float64()}[hint]
