"""A study: the grid of runs, how they are trained, kept and scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from scaling.specs.base import Spec
from scaling.specs.checkpoints import CheckpointSpec
from scaling.specs.dataset import DatasetSpec, as_dataset
from scaling.specs.model import FamilySpec
from scaling.specs.objective import ObjectiveField, ObjectiveSpec
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.stop import StopSpec
from scaling.specs.training import TrainingSpec
from scaling.specs.tune import TuneSpec
from scaling.streams import FIXED, SEED_LIMIT

LONGEST_NAME = 200  # bytes; file systems take 255
DataSize = PositiveInt | Literal["all"]
Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]


def _safe_name(value: str) -> str:
    if value.startswith(".") or not all(c.isalnum() or c in "-_." for c in value):
        raise ValueError(f"{value!r} must consist of letters, digits, '-', '_' and '.': it names a folder")
    if len(value.encode()) > LONGEST_NAME:
        raise ValueError(f"a name of {len(value.encode())} bytes exceeds {LONGEST_NAME}: it names a folder; shorten it")
    return value


class StudySpec(Spec):
    """A controlled experiment: every family and size x data size x seed x objective, trained alike and scored.

    objective: of all runs; or objectives: several, each of which every cell of the grid is trained with.
    data_sizes: images a class, or 'all'. storage: local path or pyarrow URI; the study lives in `storage/name`.
    tune: searches training fields, such as lr, in place of values that are written by hand.
    stop: ends the study once what is asked of it is known; by default all runs are trained.
    mlflow: tracking URI; by default a SQLite store beside the results.
    """

    name: Annotated[str, AfterValidator(_safe_name)]
    dataset: Annotated[DatasetSpec, BeforeValidator(as_dataset)]
    models: Annotated[tuple[FamilySpec, ...], Field(min_length=1)]
    data_sizes: Annotated[tuple[DataSize, ...], Field(min_length=1)] = ("all",)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    objective: ObjectiveField = "supervised"
    objectives: tuple[ObjectiveField, ...] = ()
    training: TrainingSpec = TrainingSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    resources: ResourceSpec = ResourceSpec()
    scoring: ScoringSpec = ScoringSpec()
    stop: StopSpec | None = None
    tune: TuneSpec | None = None
    storage: str = "results"
    mlflow: str | None = None
    max_failures: NonNegativeInt = 2

    @model_validator(mode="after")
    def _check(self) -> StudySpec:
        if self.objectives and "objective" in self.model_fields_set:
            raise ValueError("objective and objectives are both given; keep one")
        if FIXED.get(self.dataset.name) in self.seeds:
            raise ValueError(
                f"seeds={FIXED[self.dataset.name]} drew the images of '{self.dataset.name}', so that their choice and "
                "their content would be drawn alike; take another seed"
            )
        return self

    @property
    def all_objectives(self) -> tuple[str | ObjectiveSpec, ...]:
        return self.objectives or (self.objective,)
