"""A study: the grid of runs, how they are trained, kept and scored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from scaling.specs.base import MOST_EPOCHS, EpochCount, Spec
from scaling.specs.checkpoints import CheckpointSpec
from scaling.specs.dataset import DatasetSpec, as_dataset
from scaling.specs.model import FamilySpec, Parametrization
from scaling.specs.objective import ObjectiveField, ObjectiveSpec
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.stop import StopSpec
from scaling.specs.training import TrainingSpec
from scaling.specs.trunk import HorizonsSpec
from scaling.specs.tune import TuneSpec
from scaling.streams import FIXED, SEED_LIMIT

LONGEST_NAME = 200  # bytes; file systems take 255
PROBES, VERIFY = ".probes", ".verify"  # end the names of the studies that stand beside one
LONGEST_OWN = LONGEST_NAME - max(len(PROBES), len(VERIFY))  # of a study that a file describes
TOO_LONG = "a name of {} bytes exceeds {}: it names a folder, and NAME{} and NAME{} beside it; shorten it"
BESIDE = "{} is written beside {}, which replaces it; keep one"
GRID = frozenset({"data_sizes", "epochs", "horizons"})  # what gives cells beside those of budgets
DataSize = PositiveInt | Literal["all"]
Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]


def safe_name(value: str) -> str:
    if value.startswith(".") or not all(c.isalnum() or c in "-_." for c in value):
        raise ValueError(f"{value!r} must consist of letters, digits, '-', '_' and '.': it names a folder")
    if len(value.encode()) > LONGEST_NAME:
        raise ValueError(too_long(value))
    return value


def too_long(name: str) -> str:
    """Why a study may not have this name."""
    return TOO_LONG.format(len(name.encode()), LONGEST_OWN, PROBES, VERIFY)


def _axis(data: dict[str, Any]) -> tuple[str, int] | None:
    """What replaces training.epochs in a study file, and its longest; None where nothing does, or nothing that can.

    Budgets become epochs only in the cells, which are checked each: here nothing is too short for what is written.
    """
    if data.get("budgets") and not GRID & data.keys():
        nested = isinstance(data.get("training"), dict) and data["training"].get("order") == "nested"
        return "budgets", 1 if nested else MOST_EPOCHS
    horizons = data.get("horizons")
    if isinstance(horizons, HorizonsSpec):
        horizons = horizons.model_dump()
    written = horizons if isinstance(horizons, dict) else {}
    lengths = [1] if written.get("data") else written.get("epochs") or data.get("epochs")
    if not isinstance(lengths, list | tuple) or not lengths or not all(isinstance(length, int) for length in lengths):
        return None
    return ("horizons" if written else "epochs"), min(max(1, *lengths), MOST_EPOCHS)


class StudySpec(Spec):
    """A controlled experiment: every family and size x data size x seed x objective, trained alike and scored.

    objective: of all runs; or objectives: several, each of which every cell of the grid is trained with.
    parametrization: of all families that have none of their own, see `ModelSpec`.
    data_sizes: images a class, or 'all'. epochs: several, in place of training.epochs: every data size at each.
    budgets: FLOP; every size is trained at each within 1 %, on as many unique images as there are, repeated where they
    do not last (see `scaling.data.portions`); alone, or beside data_sizes. horizons: epochs, or images a class, whose
    runs share a trunk. storage: local path or pyarrow URI; the study lives in `storage/name`.
    tune: searches training fields, such as lr, in place of values that are written by hand.
    stop: ends the study once what is asked of it is known; by default all runs are trained.
    mlflow: tracking URI; by default a SQLite store beside the results.
    """

    name: Annotated[str, AfterValidator(safe_name)]
    dataset: Annotated[DatasetSpec, BeforeValidator(as_dataset)]
    models: Annotated[tuple[FamilySpec, ...], Field(min_length=1)]
    parametrization: Parametrization = "standard"
    data_sizes: Annotated[tuple[DataSize, ...], Field(min_length=1)] = ("all",)
    epochs: tuple[EpochCount, ...] = ()
    budgets: tuple[Annotated[float, Field(gt=0)], ...] = ()
    horizons: HorizonsSpec | None = None
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

    @model_validator(mode="before")
    @classmethod
    def _at_the_longest(cls, data: Any) -> Any:
        """An axis of epochs gives training its epochs, the longest: what is written is checked at a length that is."""
        found = _axis(data) if isinstance(data, dict) else None
        if found is None:
            return data
        axis, longest = found
        training = data.get("training", {})
        if isinstance(training, TrainingSpec):
            training = training.model_dump(include=training.model_fields_set)
        if not isinstance(training, dict):
            return data
        if "epochs" in training:
            raise ValueError(BESIDE.format("training.epochs", axis))
        return data | {"training": training | {"epochs": longest}}

    @model_validator(mode="after")
    def _check(self) -> StudySpec:
        if self.objectives and "objective" in self.model_fields_set:
            raise ValueError("objective and objectives are both given; keep one")
        self._check_axes()
        if self.horizons is not None:
            self._check_horizons(self.horizons)
        for family in self.tune.families if self.tune else ():
            known = dict.fromkeys(model.family for model in self.models)
            if family not in known:
                raise ValueError(f"tune.families names '{family}', no family of the study; known: {', '.join(known)}")
        if self.horizons is not None and self.tune is not None and self.tune.is_on:
            raise ValueError(
                "horizons share a trunk of one rate, and tune gives each length its own; write epochs (or data_sizes) "
                "in place of horizons, or tune another study and write its rate"
            )
        if FIXED.get(self.dataset.name) in self.seeds:
            raise ValueError(
                f"seeds={FIXED[self.dataset.name]} drew the images of '{self.dataset.name}', so that their choice and "
                "their content would be drawn alike; take another seed"
            )
        return self

    def _check_axes(self) -> None:
        """The epochs of a training beside what replaces them."""
        axis = "horizons" if self.horizons else "epochs" if self.epochs else "" if self.has_grid else "budgets"
        places = [f"models[{i}].training.epochs" for i, family in enumerate(self.models) if "epochs" in family.training]
        if axis and places:
            raise ValueError(BESIDE.format(places[0], axis))

    def _check_horizons(self, horizons: HorizonsSpec) -> None:
        for field, other in (("epochs", self.epochs), ("stop", self.stop)):
            if other:
                raise ValueError(f"horizons and {field} are both given; keep one")
        if horizons.data and "data_sizes" in self.model_fields_set:
            raise ValueError("horizons.data are images a class, and data_sizes are given too; keep one")
        orders = {"training": self.training.model_dump(include=self.training.model_fields_set)}
        orders |= {f"models[{i}].training": family.training for i, family in enumerate(self.models)}
        for place, training in orders.items():
            if horizons.data and training.get("order", "nested") != "nested":
                raise ValueError(
                    f"{place}.order={training['order']!r} contradicts horizons.data, whose smaller subsets come first "
                    "in every larger one's order; write order: nested, leave it out, or write data_sizes in place of "
                    "horizons"
                )
        for field in ("keep", "score"):
            if getattr(self.checkpoints, field) != ("last",):
                raise ValueError(
                    f"checkpoints.{field} names epochs beside the last, and what comes before a horizon's cooldown is "
                    "its trunk's; leave it out, or write epochs in place of horizons"
                )

    @property
    def has_grid(self) -> bool:
        """Are there data sizes, beside budgets?"""
        return not self.budgets or bool(GRID & self.model_fields_set)

    @property
    def all_objectives(self) -> tuple[str | ObjectiveSpec, ...]:
        return self.objectives or (self.objective,)
