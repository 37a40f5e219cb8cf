"""What is known of a zoo's model once it was loaded: one row a model, beside its scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from scaling.journal import Journal
from scaling.layout import MODELS, model_name
from scaling.records import ResultsStore
from scaling.rows import Record, records_of, table_of
from scaling.storage import Storage
from scaling.zoo.model import ZooModel

WORDS = {"name": "model", "data": "dataset"}  # a model's fact -> its column, where they differ


class ZooRecord(Record):
    """One model: what its source says of it (see `ZooModel`), and what was counted.

    model: as its source names it; weights: random, published, a file or a results folder; dataset: what it was trained
    on. n_params N; flops_per_image = 2 . MACs of one forward pass at image_size, by `torch.utils.flop_counter`;
    weights_sha256: of the architecture and every tensor, see `weights_hash`; memory_mb: resident memory of the actor
    after its scores, 10⁶ bytes; cpu_s: processor seconds that the model took of it. geometry: JSON, stimulus set →
    layer → [exponent, dimension], see `Geometry`. A failed one has a reason.
    """

    run_id: str
    model: str
    label: str
    source: str
    family: str
    weights: str
    epoch: int
    year: int | None
    dataset: str | None
    accuracy: float | None
    accuracy_of: str | None
    status: Literal["scored", "failed"]
    reason: str | None
    image_size: int | None = None
    n_params: int | None = None
    flops_per_image: float | None = None
    weights_sha256: str | None = None
    memory_mb: float | None = None
    cpu_s: float | None = None
    geometry: str | None = None


def zoo_record(model: ZooModel, status: str, reason: str | None, **counted: object) -> ZooRecord:
    """A model's record; what is not known is null."""
    told = model.model_dump(exclude={"model_id", "geometry"})
    facts = {WORDS.get(name, name): value for name, value in told.items()}
    return ZooRecord.model_validate(facts | {"run_id": model.model_id, "status": status, "reason": reason} | counted)


class ZooStore(ResultsStore):
    """The rows of a zoo study: `models` and `scores`."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self._models = Journal(storage, MODELS, ZooRecord, ["run_id"], self.damaged)

    def write_model(self, record: ZooRecord) -> None:
        self._models.write(model_name(record.run_id), table_of(ZooRecord, [record]))

    def read_models(self, ids: Iterable[str]) -> dict[str, ZooRecord]:
        return {record.run_id: record for record in records_of(ZooRecord, self._models.read(ids))}
