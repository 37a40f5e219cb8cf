"""How a study finds training fields, such as the learning rate, that its cells are trained at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic_core import PydanticCustomError

from scaling.errors import StudyError, known_names
from scaling.specs.base import Spec
from scaling.specs.objective import ObjectiveSpec, objective_spec
from scaling.specs.training import TrainingSpec

LR = "lr"
# Fields that a search may change: numbers of the optimizer, which change neither a run's data nor its cost
TUNABLE = ("lr", "weight_decay", "momentum", "label_smoothing", "clip_norm", "drop_path")
DIGITS = 3  # of a rate, before it is in a run: its id is of the text
LEAST_TRIALS = 4  # a parabola has three numbers
MOST_PROBED = 0.5  # of the grid's FLOP, for probes on cheap cells
WIDEST = 1e6  # a log range's high / low: its trials lie too far apart beyond; assumption
A_RANGE = "a range is {log: [low, high]} or {uniform: [low, high]}"
Limits = tuple[float, float]


class RangeSpec(Spec):
    """Where a field is searched: from the first to the second number, evenly by its logarithm or by itself."""

    log: Limits | None = None
    uniform: Limits | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_written(cls, value: Any) -> Any:
        if not isinstance(value, dict | RangeSpec):
            raise PydanticCustomError("range", "{text}", {"text": A_RANGE})
        return value

    @field_validator("log", "uniform", mode="before")
    @classmethod
    def _has_two_ends(cls, value: Any) -> Any:
        if value is not None and (not isinstance(value, list | tuple) or len(value) != len(("low", "high"))):
            raise PydanticCustomError("range", "{text}", {"text": f"two numbers belong here; {A_RANGE}"})
        return value

    @model_validator(mode="after")
    def _check(self) -> RangeSpec:
        if (self.log is None) == (self.uniform is None):
            raise ValueError(f"{A_RANGE}; give one of the two")
        low, high = self.limits
        if not low < high:
            raise ValueError(f"the range from {low:g} to {high:g} is empty; write the smaller number first")
        if self.log is not None and low <= 0:
            raise ValueError(f"a log range begins above 0, not at {low:g}; raise it, or write uniform")
        if self.log is not None and math.log(high) - math.log(low) > math.log(WIDEST) * (1 + 1e-9):
            raise ValueError(
                f"the log range from {low:g} to {high:g} spans more than {WIDEST:g}-fold; bring its ends closer"
            )
        return self

    @property
    def limits(self) -> Limits:
        return self.log or self.uniform or (0.0, 0.0)

    def at(self, share: float) -> float:
        """The value at a share of the range, from 0 to 1, rounded to DIGITS significant digits."""
        low, high = self.limits
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        return rounded(value)

    def distinct(self, n: int) -> int:
        """How many values n even shares of the range have."""
        return len({self.at(place / (n - 1)) for place in range(n)})


class TuneSpec(Spec):
    """How each cell (model x data size x objective) gets the fields that are not written by hand.

    how: 'probe': they are searched on cheap cells, with a seed that the grid has not; a law
    log lr* = a + b log N + c log D of each family is fitted to what was best there, and the grid is trained at what it
    predicts. 'each': every cell is searched, and trained at what was best. 'none': as if `tune` were not there.
    fields: name -> range; `lr` is always among them. lr is searched on an even grid of its range; further fields are
    drawn beside it by a Halton sequence of `seed`, and the best trial's are taken (for 'probe', the median over cells).
    families: name of a family -> field -> range, in place of that of `fields`: SGD and AdamW want other rates.
    trials: of a cell. share: of the grid's FLOP that all trials together may take, counted as if none were cut; for
    'each' it has to be written once it exceeds the default.
    validation: share of each class's training images that a trial is judged by; the held-out images are never seen.
    reduction, grace_epochs: of ASHA (`ray.tune.schedulers.AsyncHyperBandScheduler`, a bracket a cell): after
    grace_epochs, and after `reduction` times as many each, a trial goes on if its validation loss is among the best
    1 / reduction so far. Grace is half of the cell's epochs by default: large rates look worse until they are annealed.
    """

    how: Literal["probe", "each", "none"]
    fields: Annotated[Mapping[str, RangeSpec], Field(min_length=1)]
    families: Mapping[str, Mapping[str, RangeSpec]] = {}
    trials: Annotated[int, Field(ge=LEAST_TRIALS, le=1000)] = 9
    share: Annotated[float, Field(gt=0, le=1000)] = 0.1
    validation: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    grace_epochs: PositiveInt | None = None
    reduction: Annotated[float, Field(gt=1, le=100)] = 3.0
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> TuneSpec:
        for name in self.fields:
            if name not in TUNABLE:
                raise ValueError(f"fields.{name} is no training field that can be tuned; {known_names(name, TUNABLE)}")
        if LR not in self.fields:
            raise ValueError(f"fields has no lr ({', '.join(self.fields)}), which the law is of; add lr: {{log: …}}")
        for where, name, found in self._ranges():
            if name not in self.fields:
                raise ValueError(f"{where} is none of the tuned fields ({', '.join(self.fields)}); write it there too")
            if name == LR and found.log is None:
                raise ValueError(f"{where} is uniform, and its law is one of log lr; write lr: {{log: [low, high]}}")
            for value in (*found.limits, found.at(0), found.at(1)):
                TrainingSpec.model_validate({name: value})
            self._check_apart(where, name, found)
        if self.how == "probe" and self.share > MOST_PROBED:
            raise ValueError(
                f"share={self.share:g} exceeds {MOST_PROBED:g}, what probes on cheap cells may take; lower it, or "
                "search every cell (how: each)"
            )
        return self

    def _check_apart(self, where: str, name: str, found: RangeSpec) -> None:
        """Refuse trials that are one training; fields beside lr, whose rates keep trials apart, need a few values."""
        least = self.trials if name == LR else LEAST_TRIALS
        if (there := found.distinct(least)) == least:
            return
        able = (n for n in range(least - 1, LEAST_TRIALS - 1, -1) if found.distinct(n) == n)
        fewer = f", or lower trials to {n}" if (n := next(able, None)) else ""
        low, high = found.limits
        raise ValueError(
            f"{where} from {low:.12g} to {high:.12g} is too narrow: its {least} values at {DIGITS} digits, for "
            f"trials={self.trials}, are {there} different ones; widen it{fewer}"
        )

    def _ranges(self) -> Iterator[tuple[str, str, RangeSpec]]:
        """Where each range is written, its field, and it."""
        yield from ((f"fields.{name}", name, found) for name, found in self.fields.items())
        for family, fields in self.families.items():
            yield from ((f"families.{family}.{name}", name, found) for name, found in fields.items())

    def of(self, family: str) -> TuneSpec:
        """With the ranges of a family."""
        return self.model_copy(update={"fields": {**self.fields, **self.families.get(family, {})}, "families": {}})

    @property
    def is_on(self) -> bool:
        return self.how != "none"

    @property
    def asks_for_share(self) -> bool:
        """Whether the share is one that the study file had to write: 'each' costs more than the default by far."""
        return self.how == "each" and "share" not in self.model_fields_set

    def middle(self) -> dict[str, float]:
        """The fields in the middle of their ranges: what a grid is shown with before it is tuned."""
        return {name: found.at(0.5) for name, found in self.fields.items()}

    def grace(self, epochs: int) -> int:
        """Epochs that every trial of a cell gets."""
        return math.ceil(epochs / 2) if self.grace_epochs is None else self.grace_epochs


def provisional_training(
    tune: TuneSpec | None, study: TrainingSpec, family: Mapping[str, Any], training: TrainingSpec, where: str
) -> TrainingSpec:
    """A family's training with tuned fields in the middle of their ranges; as it is where nothing is tuned.

    A preset's values give way; what the study file itself writes is refused.

    Args:
        study: as the file writes it. family: its own fields. training: both resolved.

    Raises:
        StudyError: a tuned field is fixed too, a grace of more epochs than there are, a warm minimum above the range.
    """
    if tune is None or not tune.is_on:
        return training
    for name in tune.fields:
        if name in family or name in study.model_fields_set:
            place = "the family's training" if name in family else "training"
            raise StudyError(
                f"{name} is tuned (tune.fields) and fixed to {getattr(training, name):g} by {place} ({where}); remove "
                "one of the two"
            )
    if tune.grace(training.epochs) > training.epochs:
        raise StudyError(f"tune.grace_epochs={tune.grace_epochs} exceeds epochs={training.epochs} ({where}); lower it")
    if training.order == "nested":
        raise StudyError(
            "order=nested shows a run all images of its subset, and a trial holds out tune.validation of them "
            f"({where}); leave order out"
        )
    low = tune.fields[LR].limits[0]
    if training.min_lr > low:
        raise StudyError(
            f"min_lr={training.min_lr:g} exceeds the least lr that is tried, {low:g} ({where}); lower it, or raise "
            "tune.fields.lr"
        )
    return training.model_copy(update=tune.middle())


def check_used(tune: TuneSpec | None, training: TrainingSpec, objective: str | ObjectiveSpec, where: str) -> None:
    """Refuse to search a field that a family's trainings do not use.

    Raises:
        StudyError: momentum of an optimizer without it, or a field that the objective gives no meaning to.
    """
    if tune is None or not tune.is_on:
        return
    spec = objective_spec(objective)
    unused = {name: f"objective '{spec.name}', {reason}" for name, reason in spec.unused.items()}
    if training.optimizer == "adamw":
        unused["momentum"] = "optimizer=adamw, which has betas of its own"
    for name in tune.fields:
        if name in unused:
            raise StudyError(
                f"tune.fields.{name} is searched, and has no meaning for {unused[name]} ({where}); leave it out, or "
                "train this family in a study of its own"
            )


def rounded(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.{DIGITS}g}")
