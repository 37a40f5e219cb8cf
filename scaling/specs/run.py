"""One training run: what determines its weights, its id, and what it occupies."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from scaling.errors import StudyError
from scaling.specs.base import Spec
from scaling.specs.dataset import DatasetSpec
from scaling.specs.horizon import check_horizon, steps_per_epoch
from scaling.specs.model import ModelSpec
from scaling.specs.objective import ObjectiveField, canonical_objective, objective_spec
from scaling.specs.resources import ResourceSpec
from scaling.specs.training import TrainingSpec, stored_training


class RunSpec(Spec):
    """One training run. Its `run_id` hashes what determines the weights; where it runs and what is kept do not.

    has_batch_norm: of its model or its objective, as `expand_study` asks the family; the weights then depend on which
    images a step computes together. Runs of earlier versions do not say it, and have the ids that they had.
    validation: of a probe, which only finds a rate: the share of each class's images that is held out of its training
    and measured after every epoch.
    """

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
    has_batch_norm: bool = False
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @field_validator("training", mode="before")
    @classmethod
    def _as_stored(cls, value: Any) -> Any:
        """Records and checkpoints hold trainings of this version and of earlier ones."""
        return stored_training(value) if isinstance(value, dict) else value

    @property
    def run_id(self) -> str:
        """First 12 hex digits of SHA-256 over the canonical JSON of model, data, seed, objective and training.

        And of `norm_groups` where there is batch norm that does not see whole batches.
        """
        canonical: dict[str, Any] = {
            "model": self.model.identity(),
            "dataset": self.dataset.identity(),
            "images_per_class": self.images_per_class,
            "seed": self.seed,
            "objective": canonical_objective(self.objective),
            "training": self.training.identity(),
        }
        if (groups := self.norm_groups()) is not None:
            canonical["batch_norm"] = groups
        if self.validation:
            canonical["validation"] = self.validation
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def norm_groups(self) -> dict[str, int] | None:
        """As `ResourceSpec.norm_groups`, of a run with batch norm; else None."""
        if not self.has_batch_norm:
            return None
        return self.resources.norm_groups(self.training.batch_size, self.training.sync_batch_norm)

    def label(self) -> str:
        images = "all" if self.images_per_class is None else self.images_per_class
        objective = "" if self.objective == "supervised" else f", {objective_spec(self.objective).label()}"
        rate = f", lr {self.training.lr:g}" if self.validation else ""
        return f"{self.model.label()}, {images} images/class, seed {self.seed}{objective}{rate}"


def check_batches(run: RunSpec, n_samples: int, where: str) -> None:
    """What a run's number of unique training images must allow: whole batches, and averages that forget the beginning.

    Raises:
        StudyError: as `check_batch_sizes` and `check_horizon`.
    """
    check_batch_sizes(run, n_samples, where)
    check_horizon(run.training, run.objective, n_samples, f"{run.label()}; {where}")


def check_batch_sizes(run: RunSpec, n_samples: int, where: str) -> None:
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
    if n_samples // steps_per_epoch(n_samples, batch) < 2 * workers:
        raise StudyError(
            f"batch_size={batch} on {n_samples:,} images leaves {workers} workers fewer than 2 images each "
            f"({run.label()}; {where}); raise training.batch_size or the data size, or lower resources.workers"
        )
