"""Facts about runs and scores, and the store that keeps them: Parquet, one file a run and one a scored checkpoint."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from scaling.errors import StudyError
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

RunStatus = Literal["finished", "diverged", "failed", "out_of_memory"]
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
    open; n_skipped: images left out because they could not be decoded.
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
            "family": run.model.family,
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
    samples_seen, flops and accuracy are those of the checkpoint. A failed score has a reason.
    """

    run_id: str
    epoch: int
    samples_seen: int
    flops: float
    accuracy: float
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


class EpochRecord(Record):
    """One epoch of a run's training: mean loss, the rate at its end, accuracy where it was measured.

    images_per_s, compute_share: as in RunRecord, of this epoch.
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


class ResultsStore:
    """`runs/<run_id>.parquet`, `scores/<run_id>-<epoch>.parquet`, `epochs/<run_id>.parquet` in a study's folder.

    Every file has one writer and appears whole, so no lock is needed. A file of an earlier version may lack columns
    that have a default, which then fills them. `pandas.read_parquet(folder / 'runs')` and DuckDB's
    `read_parquet('scores/*.parquet')` read them without this code (`union_by_name=true` where versions mix).
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def write_run(self, record: RunRecord) -> None:
        self._write(f"runs/{record.run_id}.parquet", [record])

    def write_scores(self, records: Sequence[AlignmentRecord]) -> None:
        """All benchmarks of one checkpoint; an earlier file of the same checkpoint is replaced."""
        self._write(f"scores/{records[0].run_id}-{records[0].epoch:05d}.parquet", records)

    def write_epochs(self, records: Sequence[EpochRecord]) -> None:
        self._write(f"epochs/{records[0].run_id}.parquet", records)

    def read_runs(self, run_ids: Iterable[str] | None = None) -> dict[str, RunRecord]:
        wanted = None if run_ids is None else set(run_ids)
        records = self._read_folder("runs", RunRecord, lambda name: wanted is None or name[:-8] in wanted)
        return {record.run_id: record for record in records}

    def read_run(self, run_id: str) -> RunRecord | None:
        name = f"runs/{run_id}.parquet"
        return self._read(name, RunRecord)[0] if self.storage.exists(name) else None

    def read_scores(self, run_ids: Iterable[str] | None = None) -> list[AlignmentRecord]:
        wanted = None if run_ids is None else set(run_ids)
        return self._read_folder("scores", AlignmentRecord, lambda name: wanted is None or name[:-14] in wanted)

    def read_checkpoint_scores(self, run_id: str, epoch: int) -> list[AlignmentRecord]:
        name = f"scores/{run_id}-{epoch:05d}.parquet"
        return self._read(name, AlignmentRecord) if self.storage.exists(name) else []

    def read_epochs(self, run_id: str) -> list[EpochRecord]:
        name = f"epochs/{run_id}.parquet"
        return self._read(name, EpochRecord) if self.storage.exists(name) else []

    def _write(self, name: str, records: Sequence[Record]) -> None:
        schema = records[0].schema_arrow()
        table = pa.Table.from_pylist([record.model_dump() for record in records], schema=schema)
        with self.storage.new_file(name) as path:
            pq.write_table(table, path)

    def _read_folder(self, folder: str, kind: type[RecordT], wanted: typing.Callable[[str], bool]) -> list[RecordT]:
        names = [name for name in self.storage.names(folder, ".parquet") if wanted(name)]
        return [record for name in names for record in self._read(f"{folder}/{name}", kind)]

    def _read(self, name: str, kind: type[RecordT]) -> list[RecordT]:
        try:
            table = pq.read_table(self.storage.path(name), filesystem=self.storage.filesystem, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise StudyError(
                f"'{self.storage.path(name)}' is no whole Parquet file ({error}); delete it and run the study again"
            ) from error
        required = (name for name, field in kind.model_fields.items() if field.is_required())
        missing = [name for name in required if name not in table.column_names]
        if missing:
            raise StudyError(
                f"'{self.storage.path(name)}' lacks the column '{missing[0]}'; it was written by another version: "
                "use that version or a new study name"
            )
        known = [name for name in kind.model_fields if name in table.column_names]
        return [kind.model_validate(row) for row in table.select(known).to_pylist()]


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
