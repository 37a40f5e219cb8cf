"""The runs of a verification: the recommended size, a third and three times of it, at one compute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from scaling.data.portions import ImageCounts, images_and_epochs
from scaling.errors import StudyError
from scaling.models import has_batch_norm
from scaling.models.cost import training_flops
from scaling.records import RunRecord
from scaling.specs.objective import check_objective, objective_spec
from scaling.specs.run import RunSpec, check_batches
from scaling.streams import FIXED
from scaling.verify.images import NEAR, at_epochs, check_samples
from scaling.verify.sizes import Sized, model_near

BESIDE = {"recommended": 1.0, "a third of its N": 1 / 3, "three times its N": 3.0}


@dataclass(frozen=True)
class PlannedTrial:
    """label: as in BESIDE; run: what is trained; flops: C, which whole images and epochs bring near the budget."""

    label: str
    run: RunSpec
    n_params: int
    n_samples: int
    flops: float
    how: str

    @property
    def samples_seen(self) -> int:
        return self.n_samples * self.run.training.epochs


@dataclass(frozen=True)
class PlannedTrials:
    """trials: the recommended one first; left_out: which of BESIDE are not tried, and why."""

    trials: tuple[PlannedTrial, ...]
    left_out: tuple[str, ...]


def plan_trials(
    own: Sequence[RunSpec], n_params: float, flops: float, counts: ImageCounts, seed: int, study: str
) -> PlannedTrials:
    """The runs that put a split of `flops` to the test: N = n_params x BESIDE, D = C / (passes . flops_per_image(N)).

    Args:
        own: the study's runs of the family that is verified; models, training, objective and resources are theirs.
        n_params: recommended. seed: one that the study has not. study: the name that the runs carry.

    Raises:
        StudyError: the recommended model cannot be trained: too few images, an objective that starts from weights.
    """
    found: list[PlannedTrial] = []
    left_out: list[str] = []
    for label, factor in BESIDE.items():
        sized = model_near([run.model for run in own], factor * n_params, counts)
        twin = next((trial.label for trial in found if trial.run.model == sized.model), None)
        if twin is not None:
            left_out.append(f"{label}: the nearest size, {sized.model.label()}, is that of '{twin}'")
            continue
        try:
            found.append(_trial(label, sized, own, flops, counts, seed, study))
        except StudyError as error:
            if not found:
                raise
            left_out.append(f"{label}: {error}")
    return PlannedTrials(tuple(found), tuple(left_out))


def _trial(
    label: str, sized: Sized, own: Sequence[RunSpec], flops: float, counts: ImageCounts, seed: int, study: str
) -> PlannedTrial:
    like = next(run for run in own if run.model == sized.like)
    objective = objective_spec(like.objective)
    _check_start(like, sized)
    wanted = flops / (objective.passes * sized.flops_per_image)
    check_samples(wanted, counts, sized.model.label())
    shown = images_and_epochs(wanted, counts, NEAR)
    training = at_epochs(like.training, shown.epochs)
    check_objective(like.objective, training, like.resources.least_workers, "verification", like.resources.micro_batch)
    run = like.model_copy(update={
        "study": study, "model": sized.model, "images_per_class": shown.images_per_class, "seed": seed,
        "training": training, "keep_epochs": (shown.epochs,), "score_epochs": (shown.epochs,),
        "trunk": None, "branches": (),
        "has_batch_norm": has_batch_norm(sized.model) or objective.batch_norm,
    })  # fmt: skip
    check_batches(run, shown.n_samples, "verification")
    spent = training_flops(sized.flops_per_image, shown.samples_seen, objective.passes)
    return PlannedTrial(label, run, sized.n_params, shown.n_samples, spent, sized.how)


def _check_start(like: RunSpec, sized: Sized) -> None:
    """There are no weights to begin with of another size, seed or number of images."""
    start = getattr(objective_spec(like.objective), "start_from", None)
    if start:
        raise StudyError(
            f"objective.start_from='{start}' has no weights for {sized.model.label()} with another seed and budget; "
            "verify a study that trains from random weights"
        )


def fresh_seed(taken: Iterable[int], dataset: str) -> int:
    """The least seed above all that were taken: no run of a verification is one that the law has seen."""
    seed = max(taken) + 1
    return seed + 1 if FIXED.get(dataset) == seed else seed


def seconds_of(records: Iterable[RunRecord], runs: Sequence[RunSpec], flops: float) -> float | None:
    """Seconds of training of `flops`, at the median speed of the dearer half of their families' records, or None."""
    families = {run.model.family_name for run in runs}
    timed = [r for r in records if r.family in families and r.status == "finished" and r.flops and r.train_s]
    dearest = sorted(timed, key=lambda r: -(r.flops or 0))[: max(1, len(timed) // 2)]
    if not dearest:
        return None
    return flops / median((r.flops or 0) / (r.train_s or 1) for r in dearest)
