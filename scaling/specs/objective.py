"""The objectives' options, as a study file gives them: a name, or a mapping with `name`. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from scaling.errors import StudyError, known_names
from scaling.place import is_uri
from scaling.specs.base import Spec
from scaling.specs.wording import said, shown_value

if TYPE_CHECKING:
    from scaling.specs.training import TrainingSpec

FORWARD, BACKWARD = 1, 2  # passes of a training step, in units of one forward pass: inputs' and weights' gradients
ATTACK_STEP = 2  # forward, and the gradient of the input alone
DOUBLE_BACKWARD = 2.1  # x an ordinary step; measured 6.1-6.3 forward passes against 2.9-3.0 (Fel et al.'s loss)


def _as_absolute(place: str) -> str:
    if not place.startswith(("/", "~")) and not is_uri(place):
        raise ValueError("a relative path means another place to every worker; give an absolute path or a URI")
    return place


Share = Annotated[float, Field(gt=0, le=1)]

AVERAGES = ("ema", "ema_half_life_share", "ema_half_life_epochs")
LABELS = ("mixup", "cutmix", "loss", "label_smoothing")
OWN_AVERAGE = dict.fromkeys(AVERAGES, "whose teacher is the average that is kept")
AUGMENTATIONS = ("augmentation", "flips", "policy", "colour_jitter", "erasing", "repeated_augmentation")
OWN_VIEWS = dict.fromkeys((*LABELS, *AUGMENTATIONS), "which makes its own views and uses no labels")


class ObjectiveSpec(Spec):
    """Base of all objectives' options.

    start_from: where the weights come from in place of random ones: a checkpoint (`….safetensors`), or the folder of
    a study (`storage/name`), whose finished supervised run of the same model, data and seed gives its last weights.
    samples_seen and flops are then those of the fine-tuning alone; what came before stands in the other run's record.
    """

    own_views: ClassVar[bool] = False  # True: it augments by itself and uses no labels
    needs_maps: ClassVar[bool] = False
    batch_norm: ClassVar[bool] = False  # True: what it trains beside the model has batch norm
    per_image: ClassVar[bool] = True  # False: an image's loss depends on the rest of the batch
    unused: ClassVar[Mapping[str, str]] = {}  # training's fields that mean nothing to it, and why
    follows_horizon: ClassVar[str] = ""  # what of it depends on the length of the whole training
    durations: ClassVar[tuple[str, ...]] = ()  # its options in epochs, of which a run must have more
    later: ClassVar[frozenset[str]] = frozenset()  # options in a run's id only where they differ from their default

    name: str
    start_from: Annotated[str, AfterValidator(_as_absolute)] | None = None

    @property
    def differentiates_twice(self) -> bool:
        """Does the loss hold a gradient, so that training needs second derivatives?"""
        return False

    @property
    def views(self) -> int:
        """Augmented versions of an image that one step differentiates."""
        return 1

    @property
    def passes(self) -> float:
        """Cost of a step for one image seen, in forward passes of one image: C = passes . flops_per_image . D.

        Projection heads and augmentation are left out, as evaluation is.
        """
        return FORWARD + BACKWARD

    def too_short(self, steps: int, limit: float) -> tuple[str, str] | None:
        """Why what it keeps is more than `limit` initial weights after a training of so many steps, and the remedy."""
        return None

    def label(self, fields: Iterable[str] | None = None) -> str:
        """Its name and these options, or those that differ from their defaults, as 'harmonizer weight=1'."""
        chosen = self.model_dump(exclude_defaults=True, exclude={"name"}) if fields is None else fields
        values = {field: getattr(self, field) for field in chosen}
        texts = (
            f"{field}={value:g}" if isinstance(value, float) else f"{field}={value}" for field, value in values.items()
        )
        return " ".join([self.name, *texts])

    def identity(self) -> dict[str, Any]:
        """All options, for a run's id; those that came later only where they differ from what was done before."""
        fields = type(self).model_fields
        options = self.model_dump(mode="json")
        return {
            name: value for name, value in options.items() if name not in self.later or value != fields[name].default
        }


class SupervisedSpec(ObjectiveSpec):
    """Cross-entropy with `training.label_smoothing`."""

    name: Literal["supervised"] = "supervised"


class SimCLRSpec(ObjectiveSpec):
    """SimCLR (Chen et al. 2020): temperature, widths of the projection, smallest crop (share of the area), colours."""

    batch_norm: ClassVar[bool] = True
    own_views: ClassVar[bool] = True
    per_image: ClassVar[bool] = False
    unused: ClassVar[Mapping[str, str]] = OWN_VIEWS

    name: Literal["simclr"] = "simclr"
    temperature: PositiveFloat = 0.5
    hidden: PositiveInt = 2048
    output: PositiveInt = 128
    min_crop: Share = 0.08
    colour_strength: NonNegativeFloat = 0.5

    @property
    def views(self) -> int:
        return 2

    @property
    def passes(self) -> float:
        return self.views * (FORWARD + BACKWARD)


class DINOSpec(ObjectiveSpec):
    """DINO (Caron et al. 2021), its code's defaults but for frozen_epochs (1) and smaller widths (65,536 prototypes).

    warmup_temperature: the teacher's at epoch 0, whence it rises to teacher_temperature over temperature_warmup_epochs
    (the paper: 0.04 to 0.07 over 30). frozen_epochs: the first, in which the prototypes stay as drawn.
    """

    own_views: ClassVar[bool] = True
    per_image: ClassVar[bool] = False
    unused: ClassVar[Mapping[str, str]] = OWN_VIEWS | OWN_AVERAGE
    follows_horizon: ClassVar[str] = "its teacher's momentum rises to 1 over the whole training"
    durations: ClassVar[tuple[str, ...]] = ("temperature_warmup_epochs", "frozen_epochs")
    later: ClassVar[frozenset[str]] = frozenset({"warmup_temperature", "temperature_warmup_epochs", "frozen_epochs"})

    name: Literal["dino"] = "dino"
    local_crops: NonNegativeInt = 8
    global_area: tuple[Share, Share] = (0.4, 1.0)
    local_area: tuple[Share, Share] = (0.05, 0.4)
    student_temperature: PositiveFloat = 0.1
    teacher_temperature: PositiveFloat = 0.04
    warmup_temperature: PositiveFloat = 0.04
    temperature_warmup_epochs: NonNegativeInt = 0
    frozen_epochs: NonNegativeInt = 0
    teacher_momentum: Annotated[float, Field(ge=0, le=1)] = 0.996
    centre_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    hidden: PositiveInt = 512
    bottleneck: PositiveInt = 128
    prototypes: PositiveInt = 4096
    colour_strength: NonNegativeFloat = 0.5

    @model_validator(mode="after")
    def _check(self) -> DINOSpec:
        for field in ("global_area", "local_area"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}=[{low}, {high}] begins above its end; swap them")
        first, last = self.warmup_temperature, self.teacher_temperature
        if self.temperature_warmup_epochs and first > last:
            raise ValueError(f"warmup_temperature={first:g} exceeds teacher_temperature={last:g}; lower it")
        if not self.temperature_warmup_epochs and first != type(self).model_fields["warmup_temperature"].default:
            raise ValueError(f"warmup_temperature={first:g} is for a warm-up; give temperature_warmup_epochs")
        return self

    @property
    def views(self) -> int:
        return 2 + self.local_crops

    @property
    def passes(self) -> float:
        return self.views * (FORWARD + BACKWARD) + 2 * FORWARD  # the teacher sees the two global crops

    def too_short(self, steps: int, limit: float) -> tuple[str, str] | None:
        """The teacher is the product of its momenta initial weights, about exp(-(1 - m) (steps + 1) / 2)."""
        gap, left = 1 - self.teacher_momentum, 1.0
        for step in range(steps):
            left *= 1 - gap * (1 + math.cos(math.pi * step / steps)) / 2
            if left <= limit:
                return None
        lower = max(0.0, 1 - 2 * math.log(1 / limit) / (steps + 1))
        return (
            f"teacher_momentum={self.teacher_momentum:g} of objective '{self.name}' leaves {left:.1%} of the initial "
            f"weights in the teacher, which is kept, above {limit:.0%}",
            f"lower objective.teacher_momentum to {math.floor(lower * 1e4) / 1e4:g}, or train longer",
        )


class FFGSMSpec(ObjectiveSpec):
    """Fast adversarial training (Wong et al. 2020): epsilon in grey levels of 255, step in epsilons."""

    name: Literal["ffgsm"] = "ffgsm"
    epsilon: Annotated[float, Field(gt=0, le=255)] = 4.0
    step: PositiveFloat = 1.25

    @property
    def passes(self) -> float:
        return ATTACK_STEP + FORWARD + BACKWARD


class HarmonizerSpec(ObjectiveSpec):
    """Neural harmonizer (Fel et al. 2022): `weight` is their lambda (1; their runs sweep 10-50), 0 the baseline.

    The alignment term is a mean over the whole batch: weight x the share of images with maps is what counts.
    """

    needs_maps: ClassVar[bool] = True
    unused: ClassVar[Mapping[str, str]] = dict.fromkeys(("mixup", "cutmix"), "whose maps cannot be mixed")

    name: Literal["harmonizer"] = "harmonizer"
    weight: NonNegativeFloat = 1.0
    levels: PositiveInt = 5

    @property
    def differentiates_twice(self) -> bool:
        return self.weight > 0

    @property
    def passes(self) -> float:
        return (FORWARD + BACKWARD) * (DOUBLE_BACKWARD if self.weight > 0 else 1)


SPECS: dict[str, type[ObjectiveSpec]] = {
    "supervised": SupervisedSpec,
    "simclr": SimCLRSpec,
    "dino": DINOSpec,
    "ffgsm": FFGSMSpec,
    "harmonizer": HarmonizerSpec,
}


def read_objective(value: Any) -> str | ObjectiveSpec:
    """An objective as the study file gives it: its name where all options are the defaults, else its options.

    Raises:
        ValueError: an unknown name or option, an impossible value.
    """
    options = {"name": value} if isinstance(value, str) else value
    options = options.model_dump() if isinstance(options, ObjectiveSpec) else options
    if not isinstance(options, dict) or not isinstance(options.get("name"), str):
        raise ValueError(f"objective={value!r} is neither a name nor a mapping with a name; {known_names('', SPECS)}")
    name = options["name"]
    if name not in SPECS:
        raise ValueError(f"unknown objective '{name}'; {known_names(name, SPECS)}")
    try:
        spec = SPECS[name].model_validate(options)
    except ValidationError as error:
        raise ValueError(_explain(error, name)) from error
    return name if spec == SPECS[name]() else spec  # type: ignore[call-arg]


def _explain(error: ValidationError, name: str) -> str:
    (detail, *_) = error.errors(include_url=False)
    option = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"unknown option '{option}' of objective '{name}'; {known_names(option, SPECS[name].model_fields)}"
    message = said(detail)
    return f"{option}={shown_value(detail['input'])} of objective '{name}': {message}" if option else message


ObjectiveField = Annotated[
    str | ObjectiveSpec,
    PlainValidator(read_objective),
    PlainSerializer(lambda value: value if isinstance(value, str) else value.model_dump(mode="json")),
]


def objective_spec(value: str | ObjectiveSpec) -> ObjectiveSpec:
    """All options of an objective that may be given by its name alone."""
    return SPECS[value]() if isinstance(value, str) else value  # type: ignore[call-arg]


def from_scratch(value: str | ObjectiveSpec) -> ObjectiveSpec:
    """The objective without the weights it starts from: what times a step needs none."""
    return objective_spec(value).model_copy(update={"start_from": None})


def canonical_objective(value: str | ObjectiveSpec) -> Any:
    """What a run's id is made of: the options, defaults too, but 'supervised' alone for the plain objective."""
    return value if value == "supervised" else objective_spec(value).identity()


def check_objective(
    value: str | ObjectiveSpec, training: TrainingSpec, workers: int, where: str, micro_batch: int | None = None
) -> None:
    """Refuse an objective that the training or the resources contradict.

    Args:
        micro_batch: the most images that a worker holds at once; None: its whole share of a batch.

    Raises:
        StudyError: a field of `training` that it does not use is set; it trains no longer than one of its own
            durations; its loss compares the images of a batch, and micro-batches would keep them apart.
    """
    spec = objective_spec(value)
    share = math.ceil(training.batch_size / workers)
    if not spec.per_image and micro_batch is not None and micro_batch < share:
        raise StudyError(
            f"micro_batch={micro_batch} is less than the {share} images that each of {workers} workers has of "
            f"batch_size={training.batch_size}, and objective '{spec.name}' needs a batch whole: its loss compares the "
            f"images ({where}, resources.micro_batch); raise it to {share}, add workers, or lower batch_size"
        )
    for field, reason in spec.unused.items():
        given, neutral = getattr(training, field), type(training).model_fields[field].default
        if given != neutral:
            raise StudyError(
                f"{field}={given!r} has no meaning for objective '{spec.name}', {reason} ({where}, training.{field}); "
                f"set it to {neutral!r}"
            )
    for field in spec.durations:
        epochs = getattr(spec, field)
        if epochs and epochs >= training.epochs:
            raise StudyError(
                f"{field}={epochs} of objective '{spec.name}' leaves none of epochs={training.epochs} ({where}, "
                f"objective.{field}); lower it or train longer"
            )
