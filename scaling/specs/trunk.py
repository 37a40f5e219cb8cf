"""`horizons`: several lengths of training, of which the longest is the trunk that the others branch from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pydantic import PositiveInt, model_validator

from scaling.errors import StudyError
from scaling.place import shown
from scaling.specs.base import EpochCount, Spec
from scaling.specs.objective import ObjectiveSpec, objective_spec
from scaling.specs.training import TrainingSpec

# Fields that mean something else at every horizon before its cooldown begins: what says the same at all of them
OF_ALL = {
    "warmup_share": "write warmup_epochs or warmup_steps",
    "ema_half_life_share": "write ema_half_life_epochs or ema",
    "weight_decay_end": "leave it out",
}
OF_DATA = {
    "warmup_epochs": "write warmup_steps",
    "ema_half_life_epochs": "write ema",
    "cap_batch": "set it to false",
}


class HorizonsSpec(Spec):
    """Lengths of training, ascending: the longest of each cell is its trunk, and the others cool down from its states.

    epochs: of each data size; in place of training.epochs. data: images a class, each image shown once: of every size
    the images of the smaller ones come first (training.order: nested); in place of data_sizes.

    Each is the run that it would be alone, with its id, record and weights; what it shares with the trunk is computed
    once. Schedule wsd; what comes before the cooldown must not depend on the horizon.
    """

    epochs: tuple[EpochCount, ...] = ()
    data: tuple[PositiveInt, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> HorizonsSpec:
        if bool(self.epochs) == bool(self.data):
            raise ValueError("give either epochs, or data (images a class, each shown once)")
        lengths = self.epochs or self.data
        if len(lengths) < 2:
            raise ValueError(f"a horizon of {lengths[0]} alone shares nothing; give two or more, or leave horizons out")
        wrong = next(((a, b) for a, b in pairwise(lengths) if b <= a), None)
        if wrong:
            raise ValueError(f"{wrong[1]} follows {wrong[0]}: horizons ascend, each once, to the trunk's; sort them")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.epochs or self.data

    @property
    def apart(self) -> str:
        """What a study file says in place of horizons that share nothing."""
        return f"{'epochs' if self.epochs else 'data_sizes'}: {list(self.lengths)} in place of horizons"


def check_shared(
    horizons: HorizonsSpec, trainings: Sequence[TrainingSpec], objective: str | ObjectiveSpec, where: str
) -> None:
    """Refuse horizons that do not train alike before they cool down.

    Args:
        trainings: of the horizons, in their order.

    Raises:
        StudyError: no schedule wsd; a field or an objective that follows the length of the whole training.
    """
    spec = trainings[-1]
    if spec.schedule != "wsd":
        raise StudyError(
            f"horizons branch from a trunk of constant rate, and schedule={spec.schedule!r} falls from the beginning "
            f"({where}, training.schedule); write schedule: wsd, or {horizons.apart}"
        )
    follows = objective_spec(objective).follows_horizon
    if follows:
        raise StudyError(
            f"horizons share no trunk with objective '{objective_spec(objective).name}': {follows} ({where}); write "
            f"{horizons.apart}"
        )
    for field, remedy in (OF_ALL | (OF_DATA if horizons.data else {})).items():
        value = getattr(spec, field)
        if value != TrainingSpec.model_fields[field].default:
            raise StudyError(
                f"{field}={value!r} follows the length of the training, so that horizons share no trunk ({where}, "
                f"training.{field}); {remedy}"
            )
    _check_alike(trainings, where)
    _check_something(horizons, trainings[:-1], where)
    start = objective_spec(objective).start_from
    if horizons.data and start is not None and not start.endswith(".safetensors"):
        raise StudyError(
            f"objective.start_from='{shown(start)}' has other weights for each data size, so that horizons.data share "
            f"no trunk ({where}); give one checkpoint (….safetensors)"
        )


def _check_something(horizons: HorizonsSpec, short: Sequence[TrainingSpec], where: str) -> None:
    """Some branch must begin behind the trunk's first step."""
    spec = short[-1]
    cooldown = spec.cooldown_share * spec.epochs if spec.cooldown_epochs is None else spec.cooldown_epochs
    if cooldown >= spec.epochs:
        field = "cooldown_share" if spec.cooldown_epochs is None else "cooldown_epochs"
        raise StudyError(
            f"{field}={getattr(spec, field):g} is all of epochs={spec.epochs}, so that horizons share nothing "
            f"({where}, training.{field}); lower it, or write {horizons.apart}"
        )


def _check_alike(trainings: Sequence[TrainingSpec], where: str) -> None:
    """A preset's warm-up keeps its share of the training."""
    first, last = trainings[0].model_dump(), trainings[-1].model_dump()
    for field in first.keys() - {"epochs"}:
        if first[field] != last[field]:
            raise StudyError(
                f"{field} is {first[field]:g} of epochs={first['epochs']} and {last[field]:g} of "
                f"epochs={last['epochs']} (preset '{trainings[0].preset}'), so that horizons share no trunk ({where}, "
                f"training.{field}); write {field}"
            )
