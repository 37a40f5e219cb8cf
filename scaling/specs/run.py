"""One training run: what determines its weights, its id, and what it occupies."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from scaling.errors import StudyError
from scaling.specs.base import Spec
from scaling.specs.dataset import DatasetSpec
from scaling.specs.horizon import check_horizon, cooldown_start, images_before, smallest_batch, steps_per_epoch
from scaling.specs.model import ModelSpec
from scaling.specs.objective import ObjectiveField, canonical_objective, objective_spec
from scaling.specs.resources import ResourceSpec
from scaling.specs.training import TrainingSpec, stored_training


class RunSpec(Spec):
    """One training run. Its `run_id` hashes what determines the weights; where it runs and what is kept do not.

    has_batch_norm: of its model or its objective, as `expand_study` asks the family; the weights then depend on which
    images a step computes together. Runs of earlier versions do not say it, and have the ids that they had.
    trunk: the id of the run whose state at this one's cooldown it may begin with, see `scaling.branches`; branches: of
    a trunk, the (epochs, images_per_class) of the runs that begin with its states. Weights do not depend on either.
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
    trunk: str | None = None
    branches: tuple[tuple[int, int | None], ...] = ()
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
        images_seen = f"{images} images/class, seed {self.seed}, {self.training.epochs} epochs"
        rate = f", lr {self.training.lr:g}" if self.validation else ""
        return f"{self.model.label()}, {images_seen}{objective}{rate}"

    def cooldown_start(self, n_samples: int) -> int:
        """The steps before its cooldown (schedule wsd) on `n_samples` unique images."""
        spec = self.training.for_samples(n_samples)
        return cooldown_start(spec, steps_per_epoch(n_samples, spec.batch_size))

    def shared_samples(self, n_samples: int) -> int:
        """Samples that its trunk sees for it; of a run on `n_samples` unique images, none without a trunk."""
        if self.trunk is None:
            return 0
        return images_before(self.training.for_samples(n_samples), n_samples, self.cooldown_start(n_samples))

    def branch_steps(self, n_samples: int) -> frozenset[int]:
        """The steps after which its branches begin, of a trunk of `n_samples` images; a branch may begin with none."""
        found = set()
        for epochs, images in self.branches:
            n = (
                n_samples
                if images == self.images_per_class
                else n_samples // (self.images_per_class or 1) * (images or 1)
            )
            branch = self.model_copy(update={"training": self.training.model_copy(update={"epochs": epochs})})
            found.add(branch.cooldown_start(n))
        return frozenset(found - {0})


def check_elastic(run: RunSpec, where: str) -> None:
    """Refuse a number of workers that follows the cluster where the weights depend on it.

    Raises:
        StudyError: batch norm that does not take its statistics of whole batches.
    """
    if run.resources.elastic and run.norm_groups() is not None:
        raise StudyError(
            f"resources.workers of {run.label()} ({run.resources.text()}): its batch norm would take its "
            f"statistics of other images with every number of workers ({where}); set training.sync_batch_norm to true "
            "and leave resources.micro_batch out, or give one number of workers"
        )


def check_batches(run: RunSpec, n_samples: int, where: str) -> None:
    """What a run's number of unique training images must allow: whole batches, and averages that forget the beginning.

    Raises:
        StudyError: as `check_batch_sizes` and `check_horizon`.
    """
    if run.training.order == "nested" and run.images_per_class is None:
        raise StudyError(
            f"order='nested' of {run.label()} needs as many images of every class ({where}); give a number"
        )
    check_batch_sizes(run, n_samples, where)
    check_horizon(run.training, run.objective, n_samples, f"{run.label()}; {where}")


def check_batch_sizes(run: RunSpec, n_samples: int, where: str) -> None:
    """Every batch holds as many images as the study says, and batch norm two a worker.

    Shuffled batches differ by one at most; nested ones are whole up to the cooldown, which has what is left.

    Raises:
        StudyError: `n_samples` images are fewer than a batch, or the smallest batch is too small for the run's workers.
    """
    spec = run.training.for_samples(n_samples)
    workers, batch = run.resources.most_workers, spec.batch_size
    if batch > n_samples:
        raise StudyError(
            f"batch_size={batch} exceeds the {n_samples:,} images of {run.label()} ({where}); lower "
            "training.batch_size, raise the data size, or set training.cap_batch to train on one smaller batch a step"
        )
    if smallest_batch(spec, n_samples) < 2 * workers:
        raise StudyError(
            f"batch_size={batch} on {n_samples:,} images leaves {workers} workers fewer than 2 images each "
            f"({run.label()}; {where}); raise training.batch_size or the data size, or lower resources.workers"
        )
