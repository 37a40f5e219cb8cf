"""An opened zoo study: its models, its folder, what is scored and what is open, its table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scaling.alignment.protocol import Protocol, scoring_protocols
from scaling.driver_lock import only_driver
from scaling.errors import StudyError
from scaling.frames import LEFT_OUT, SCORE_WORDS
from scaling.records import AlignmentRecord
from scaling.rows import Record
from scaling.specs.base import read_spec
from scaling.specs.zoo import ZooStudySpec
from scaling.storage import Storage
from scaling.yaml_file import read_fields
from scaling.zoo.listing import list_models
from scaling.zoo.model import ZooModel
from scaling.zoo.records import ZooRecord, ZooStore, zoo_record

if TYPE_CHECKING:
    import pandas as pd

TABLE_FILE = "models.csv"  # in the study's folder: one row a model, see `ZooStudy.by_model`


def open_zoo(path: str | Path, storage: str | Path | None = None) -> ZooStudy:
    """A zoo study by its file.

    Raises:
        StudyError: a field that is unknown or impossible, a benchmark or model that does not exist.
    """
    spec = read_spec(ZooStudySpec, read_fields(path, "study file"), str(path))
    if storage is not None:
        spec = spec.model_copy(update={"storage": str(storage)})
    return ZooStudy(spec, str(path))


class ZooStudy:
    """See `open_zoo`. where: the file that it is told in."""

    def __init__(self, spec: ZooStudySpec, where: str = "study") -> None:
        self.spec, self.name = spec, spec.name
        self.storage = Storage(spec.storage).child(spec.name)
        self.store = ZooStore(self.storage)
        self.protocols: dict[str, Protocol] = scoring_protocols(spec.scoring, spec.benchmarks)
        self.models: tuple[ZooModel, ...] = list_models(spec, where)

    @cached_property
    def records(self) -> dict[str, ZooRecord]:
        """What is known of the models that were tried, by id."""
        return self.store.read_models(model.model_id for model in self.models)

    @cached_property
    def scores(self) -> dict[str, list[AlignmentRecord]]:
        """All that was ever scored of the models, by id."""
        found: dict[str, list[AlignmentRecord]] = {model.model_id: [] for model in self.models}
        for score in self.store.read_scores(found):
            found[score.run_id].append(score)
        return found

    def own_scores(self, model: ZooModel) -> dict[str, AlignmentRecord]:
        """A model's scores by the study's own protocols, failed ones where there is no other, by benchmark."""
        own = [s for s in self.scores[model.model_id] if s.benchmark in self.protocols and s.epoch == model.epoch]
        own = [score for score in own if self.protocols[score.benchmark].made(score.protocol)]
        return {score.benchmark: score for score in sorted(own, key=lambda score: score.status == "scored")}

    def lacking(self, model: ZooModel) -> tuple[str, ...]:
        """The benchmarks that a model has no score of, all where its own row is lost; failed ones are open again."""
        own = self.own_scores(model)
        if model.model_id not in self.records:
            return tuple(self.protocols)
        return tuple(name for name in self.protocols if name not in own or own[name].status != "scored")

    def open_work(self) -> dict[ZooModel, tuple[str, ...]]:
        """Models that lack a score -> the benchmarks that they lack."""
        return {model: names for model in self.models if (names := self.lacking(model))}

    def scored(self, model: ZooModel, new: Iterable[AlignmentRecord]) -> None:
        """Scores that an actor has written, and the model's row."""
        new = list(new)
        self.records |= self.store.read_models([model.model_id])
        written = {(score.benchmark, score.protocol) for score in new}
        old = [score for score in self.scores[model.model_id] if (score.benchmark, score.protocol) not in written]
        self.scores[model.model_id] = [*old, *new]

    def failed(self, model: ZooModel, reason: str) -> None:
        """A model that cannot be scored at all; it is open again by the next start."""
        self.records[model.model_id] = zoo_record(model, "failed", reason)
        self.store.write_model(self.records[model.model_id])

    def table(self) -> pd.DataFrame:
        """One row a model and benchmark, in the words of `scaling.records`; what is left out is counted in `attrs`.

        Raises:
            StudyError: nothing is scored yet.
        """
        left_out: Counter[str] = Counter()
        rows = [row for model in self.models for row in self._rows(model, left_out)]
        if not rows:
            raise StudyError(f"study '{self.name}' has no scored model; run it first: scaling run STUDY")
        frame: pd.DataFrame = pa.Table.from_pylist(rows, schema=_schema()).to_pandas()
        frame.attrs[LEFT_OUT] = dict(left_out)
        return frame

    def _rows(self, model: ZooModel, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        record, own = self.records.get(model.model_id), self.own_scores(model)
        if record is None or record.status == "failed" or not own:
            left_out["model failed" if record else "model not scored yet"] += 1
            return
        known = record.model_dump()
        for name in self.protocols:
            if name in own and own[name].status == "scored":
                score = {SCORE_WORDS.get(key, key): value for key, value in own[name].model_dump().items()}
                yield {"study": self.name} | score | known
            else:
                left_out[f"{name}: {'score failed' if name in own else 'not scored yet'}"] += 1

    def by_model(self) -> list[dict[str, Any]]:
        """One row a model, in the study's order: its facts, and its score of each benchmark."""
        rows = []
        for model in self.models:
            record, own = self.records.get(model.model_id), self.own_scores(model)
            facts = (record or zoo_record(model, "failed", "not scored yet")).model_dump()
            rows.append(facts | {name: own[name].score if name in own else None for name in self.protocols})
        return rows

    def write_table(self) -> None:
        """Write `by_model` beside the results."""
        rows = self.by_model()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.storage.write_bytes(TABLE_FILE, text.getvalue().encode())

    def locked(
        self, say: Callable[[str], None] = lambda line: None, lost: Callable[[str], None] = lambda line: None
    ) -> AbstractContextManager[None]:
        """Keep a second driver out for a block's time, see `driver_lock.only_driver`."""
        return only_driver(self.storage, say, lost)


def _schema() -> pa.Schema:
    """Of `table`: what is known of a model takes the place of a score's columns of the same name."""

    def fields(kind: type[Record]) -> dict[str, pa.DataType]:
        return {field.name: field.type for field in kind.schema_arrow()}

    scores = {SCORE_WORDS.get(name, name): kind for name, kind in fields(AlignmentRecord).items()}
    unknown = {"samples_seen", "flops"}  # of models that were trained elsewhere
    merged = {"study": pa.string()} | scores | fields(ZooRecord)
    return pa.schema([(name, kind) for name, kind in merged.items() if name not in unknown])
