"""The study file: YAML -> StudySpec -> one RunSpec for every model x data size x seed."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from scaling.errors import StudyError
from scaling.specs.base import Spec, override, read_spec
from scaling.specs.checkpoints import CheckpointSpec, schedule_epochs
from scaling.specs.dataset import DatasetSpec, as_dataset
from scaling.specs.model import AskedSize, FamilySpec, ModelSpec
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.training import TrainingSpec, resolve_training
from scaling.train.objectives.spec import (
    ObjectiveField,
    ObjectiveSpec,
    canonical_objective,
    check_objective,
    objective_spec,
)

__all__ = [
    "AskedSize", "CheckpointSpec", "DatasetSpec", "FamilySpec", "ModelSpec", "ResourceSpec", "RunSpec", "ScoringSpec",
    "StudySpec", "TrainingSpec", "check_batches", "expand_study", "load_study", "override", "parse_study",
]  # fmt: skip

DataSize = PositiveInt | Literal["all"]


class RunSpec(Spec):
    """One training run. Its `run_id` hashes what determines the weights; where it runs and what is kept do not."""

    study: str
    model: ModelSpec
    dataset: DatasetSpec
    images_per_class: PositiveInt | None
    seed: NonNegativeInt
    objective: ObjectiveField
    training: TrainingSpec
    resources: ResourceSpec
    keep_epochs: tuple[int, ...]
    score_epochs: tuple[int, ...]

    @property
    def run_id(self) -> str:
        """First 12 hex digits of SHA-256 over the canonical JSON of model, data, seed, objective and training."""
        canonical = {
            "model": self.model.identity(),
            "dataset": self.dataset.identity(),
            "images_per_class": self.images_per_class,
            "seed": self.seed,
            "objective": canonical_objective(self.objective),
            "training": self.training.identity(),
        }
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def label(self) -> str:
        images = "all" if self.images_per_class is None else self.images_per_class
        objective = "" if self.objective == "supervised" else f", {objective_spec(self.objective).label()}"
        return f"{self.model.label()}, {images} images/class, seed {self.seed}{objective}"


def _safe_name(value: str) -> str:
    if not value or value.startswith(".") or not all(c.isalnum() or c in "-_." for c in value):
        raise ValueError(f"'{value}' must consist of letters, digits, '-', '_' and '.': it names a folder")
    return value


class StudySpec(Spec):
    """A controlled experiment: every family and size x data size x seed x objective, trained alike and scored.

    objective: of all runs; or objectives: several, each of which every cell of the grid is trained with.
    data_sizes: images a class, or 'all'. storage: local path or pyarrow URI; the study lives in `storage/name`.
    mlflow: tracking URI; by default a SQLite store beside the results.
    """

    name: Annotated[str, AfterValidator(_safe_name)]
    dataset: Annotated[DatasetSpec, BeforeValidator(as_dataset)]
    models: Annotated[tuple[FamilySpec, ...], Field(min_length=1)]
    data_sizes: Annotated[tuple[DataSize, ...], Field(min_length=1)] = ("all",)
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    objective: ObjectiveField = "supervised"
    objectives: tuple[ObjectiveField, ...] = ()
    training: TrainingSpec = TrainingSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    resources: ResourceSpec = ResourceSpec()
    scoring: ScoringSpec = ScoringSpec()
    storage: str = "results"
    mlflow: str | None = None
    max_failures: NonNegativeInt = 2

    @model_validator(mode="after")
    def _check(self) -> StudySpec:
        if self.objectives and "objective" in self.model_fields_set:
            raise ValueError("objective and objectives are both given; keep one")
        return self

    @property
    def all_objectives(self) -> tuple[str | ObjectiveSpec, ...]:
        return self.objectives or (self.objective,)


def load_study(path: str | Path) -> StudySpec:
    """Read and check a study file.

    Raises:
        StudyError: the file is missing, is not YAML, or a field is unknown or impossible; the message names it.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"study file '{path}' cannot be read ({error}); give the path of a YAML file") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"study file '{path}' is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise StudyError(f"study file '{path}' holds no fields; see jobs/studies/quickstart.yaml for an example")
    return parse_study(content, where=str(path))


def parse_study(content: dict[str, Any], where: str = "study") -> StudySpec:
    """A checked StudySpec from plain data, every run of which can be expanded."""
    study = read_spec(StudySpec, content, where)
    expand_study(study, where)
    return study


def expand_study(study: StudySpec, where: str = "study") -> list[RunSpec]:
    """All runs of the grid, in the file's order.

    Raises:
        StudyError: an override, a size, a checkpoint or a batch is impossible, or two cells of the grid are one run.
    """
    from scaling.models.sizes import resolve_model

    runs = []
    for index, family in enumerate(study.models):
        place = f"{where}, models[{index}]"
        training = resolve_training(study.training, family.training, f"{place}.training")
        resources = override(study.resources, family.resources, f"{place}.resources")
        for objective in study.all_objectives:
            check_objective(objective, training, resources.workers, place, resources.micro_batch)
        for size in family.sizes:
            model = resolve_model(family, size, study.dataset.image_size, place)
            runs += [
                _run(study, model, objective, data_size, seed, training, resources)
                for objective in study.all_objectives
                for data_size in study.data_sizes
                for seed in study.seeds
            ]
    _check_epochs(study, runs, where)
    for run in runs:
        check_batches(run, run.training.batch_size, where)  # a full batch; short ones once the data are known
    twice = [run_id for run_id, count in Counter(run.run_id for run in runs).items() if count > 1]
    if twice:
        twin = next(run for run in runs if run.run_id == twice[0])
        raise StudyError(
            f"two runs of the grid are the same ({twin.label()}; id {twice[0]}; {where}); "
            "remove the repeated family, size, data size or seed"
        )
    return runs


def _run(
    study: StudySpec,
    model: ModelSpec,
    objective: str | ObjectiveSpec,
    data_size: int | str,
    seed: int,
    training: TrainingSpec,
    resources: ResourceSpec,
) -> RunSpec:
    score = schedule_epochs(study.checkpoints.score, training.epochs)
    keep = schedule_epochs(study.checkpoints.keep, training.epochs)
    return RunSpec(
        study=study.name,
        model=model,
        dataset=study.dataset,
        images_per_class=None if data_size == "all" else int(data_size),
        seed=seed,
        objective=objective,
        training=training,
        resources=resources,
        keep_epochs=tuple(sorted({*keep, *score, training.epochs})),
        score_epochs=score,
    )


def _check_epochs(study: StudySpec, runs: list[RunSpec], where: str) -> None:
    for run in runs:
        beyond = [epoch for epoch in run.keep_epochs if epoch > run.training.epochs]
        if beyond:
            raise StudyError(
                f"checkpoints at epoch {beyond[0]} exceed epochs={run.training.epochs} of {run.label()} "
                f"({where}, checkpoints); lower it, train longer or write 'last'"
            )


def check_batches(run: RunSpec, n_samples: int, where: str) -> None:
    """Every batch holds as many images as the study says, and batch norm two a worker; batches differ by one at most.

    Raises:
        StudyError: `n_samples` images are fewer than a batch, or the smallest batch is too small for the run's workers.
    """
    workers, batch = run.resources.workers, run.training.for_samples(n_samples).batch_size
    if batch > n_samples:
        raise StudyError(
            f"batch_size={batch} exceeds the {n_samples:,} images of {run.label()} ({where}); lower "
            "training.batch_size, raise the data size, or set training.cap_batch to train on one smaller batch a step"
        )
    if n_samples // math.ceil(n_samples / batch) < 2 * workers:
        raise StudyError(
            f"batch_size={batch} on {n_samples:,} images leaves {workers} workers fewer than 2 images each "
            f"({run.label()}; {where}); raise training.batch_size or the data size, or lower resources.workers"
        )
