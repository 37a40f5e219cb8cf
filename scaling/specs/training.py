"""How a run is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from scaling.specs.base import EpochCount, Spec, read_spec
from scaling.specs.presets import preset_fields

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _whole(epochs: float) -> float:
    """2.0 as 2: a run's id is of the text."""
    return int(epochs) if epochs.is_integer() else epochs


Epochs = Annotated[NonNegativeFloat, AfterValidator(_whole)]

# In every run's id; fields that came later enter it only where they differ from their default, which is what was done
# before they came: an id never changes by an addition.
FIRST_FIELDS = frozenset({
    "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule", "warmup_epochs", "min_lr",
    "label_smoothing", "clip_norm", "augmentation",
})  # fmt: skip
LONGEST_HALF_LIFE = 0.077  # of the training: -ln 2 / ln((1 + t) / (10 + t)) is about t ln 2 / 9
NO_IDENTITY = frozenset({"preset"})
# Spellings of one thing, in units of their own: a study writes one, and it takes the place of another's below it.
SPELLINGS = (
    ("ema", "ema_half_life_share", "ema_half_life_epochs"),
    ("warmup_epochs", "warmup_share", "warmup_steps"),
    ("cooldown_share", "cooldown_epochs"),
)
SPELT = ("the average of the weights", "the warm-up", "the cooldown")  # what each of SPELLINGS is
COOLDOWN = ("cooldown", *SPELLINGS[2])  # fields of schedule wsd alone


class TrainingSpec(Spec):
    """How a run is trained. Durations in epochs; probabilities and shares in [0, 1]; 0 switches a thing off.

    preset: a named set of values for the fields below (`scaling presets` lists them with their sources); fields that
    the study file writes, at the study or at the family, come before the preset's. With other `epochs` than the
    preset's, its warm-up keeps its share of them.

    batch_size: the global one. cap_batch: a subset smaller than it is one batch a step, instead of being refused.
    lr: the peak rate at a global batch of lr_batch images (by default batch_size); at another batch it is
    lr . (batch / lr_batch)^p, with p = 1 for lr_scaling 'linear', 1/2 for 'sqrt', 0 for 'none'; min_lr likewise.
    weight_decay_end: where a cosine takes the weight decay by the last step. warmup_epochs: linear from 0; or
    warmup_share, a share of the training, or warmup_steps.
    schedule: after the warm-up 'cosine' or 'linear' down to min_lr, 'constant', or 'wsd': constant until the cooldown,
    the last cooldown_share of all steps (or cooldown_epochs), which falls to min_lr by 1 - sqrt(t) (cooldown 'sqrt',
    Hägele et al. 2024) or 1 - t ('linear').
    order: of an epoch's images: 'shuffled', or 'nested', for one epoch: a smaller subset's images come first in the
    order of every larger one, up to where its cooldown begins, see `scaling.train.batches.nested_batches`.
    loss: 'cross_entropy' of hard labels (with label smoothing), 'soft_cross_entropy' of mixed labels, or
    'binary_cross_entropy' of every class against the rest, averaged over classes.

    augmentation: the geometry: 'flip'; 'crop_flip', a random crop after padding by an eighth; 'resized_crop', a random
    window of min_crop to 1 of the area, resized, and a flip.
    flips: 'random', or 'alternating': an image is flipped in every other epoch, in which of the two is drawn once.
    policy: 'randaugment' (2 operations of magnitude randaugment_magnitude), or 'three_augment' (grey, solarised or
    blurred). colour_jitter: strength of brightness, contrast and saturation. erasing: probability of random erasing.
    mixup, cutmix: alpha of the Beta distribution; with both, each batch draws one. repeated_augmentation: how often
    an image stands in an epoch's batches, augmented anew each time; the epoch then shows that much fewer images, so
    that its length and samples_seen stay.
    whiten: the first convolution begins as a whitening of the training images' patches, see `scaling.train.whiten`.
    nesterov: momentum as Nesterov's, of SGD. drop_path: stochastic depth's largest rate, growing linearly with depth.
    ema_half_life_share, ema_half_life_epochs: the steps in which a weight's part in the weights' average halves, as a
    share of the training (at most 0.077) or in epochs, see `horizon.average_decay`; the average is then what is
    measured and kept.
    ema: the same as a decay a step, from the first step on. One of the three.

    precision: of the forward pass; 'bfloat16' is autocast. sync_batch_norm: statistics over all workers.
    """

    renamed: ClassVar[Mapping[str, str]] = {"recipe": "preset"}

    preset: str | None = None
    epochs: EpochCount = 10
    batch_size: PositiveInt = 64
    cap_batch: bool = False
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    lr: PositiveFloat = 0.1
    lr_batch: PositiveInt | None = None
    lr_scaling: Literal["linear", "sqrt", "none"] = "linear"
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    weight_decay_end: NonNegativeFloat | None = None
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_epochs: Epochs = 0
    warmup_share: Fraction = 0.0
    warmup_steps: NonNegativeInt = 0
    cooldown: Literal["sqrt", "linear"] = "sqrt"
    cooldown_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    cooldown_epochs: PositiveFloat | None = None
    order: Literal["shuffled", "nested"] = "shuffled"
    min_lr: NonNegativeFloat = 0.0
    loss: Literal["cross_entropy", "soft_cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    clip_norm: PositiveFloat | None = None
    augmentation: Literal["none", "flip", "crop_flip", "resized_crop"] = "none"
    min_crop: Annotated[float, Field(gt=0, le=1)] = 0.08
    policy: Literal["none", "randaugment", "three_augment"] = "none"
    randaugment_magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0
    colour_jitter: Probability = 0.0
    erasing: Probability = 0.0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    repeated_augmentation: PositiveInt = 1
    flips: Literal["random", "alternating"] = "random"
    whiten: bool = False
    nesterov: bool = False
    drop_path: Fraction = 0.0
    ema: Fraction = 0.0
    ema_half_life_share: PositiveFloat | None = None
    ema_half_life_epochs: PositiveFloat | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    sync_batch_norm: bool = True

    @model_validator(mode="wrap")
    @classmethod
    def _expand_preset(cls, data: Any, handler: ModelWrapValidatorHandler[TrainingSpec]) -> TrainingSpec:
        """Lay the preset beneath what is written; `model_fields_set` stays what was written."""
        if not isinstance(data, dict) or data.get("preset") is None:
            return handler(data)
        spec = handler(laid(preset_fields(str(data["preset"]), _epochs(data)), data))
        object.__setattr__(spec, "__pydantic_fields_set__", set(data))
        return spec

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves none of epochs={self.epochs}; lower it, "
                "train longer, or write warmup_share"
            )
        for names, thing in zip(SPELLINGS, SPELT, strict=True):
            written = [f"{name}={getattr(self, name):g}" for name in names if self._is_given(name)]
            if len(written) > 1:
                raise ValueError(f"{' and '.join(written)} are one thing, {thing}; keep one")
        self._check_cooldown()
        self._check_order()
        epochs, share = self.ema_half_life_epochs, self.ema_half_life_share
        half_life = share if epochs is None else epochs / self.epochs
        if half_life is not None and not half_life <= LONGEST_HALF_LIFE:
            field = SPELLINGS[0][1] if epochs is None else SPELLINGS[0][2]
            remedy = "lower it" if epochs is None else "lower it, train longer, or write ema_half_life_share"
            raise ValueError(
                f"{field}={getattr(self, field):g} is above {LONGEST_HALF_LIFE} (ln 2 / 9) of the training of epochs="
                f"{self.epochs}, which the average's decay, at most (1 + step) / (10 + step), reaches in the end; "
                f"{remedy}"
            )
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError(
                f"nesterov=True is SGD's momentum, and optimizer={self.optimizer!r}, momentum={self.momentum:g}; set "
                "nesterov to false, or optimizer to sgd and momentum above 0"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr} exceeds lr={self.lr}; lower it")
        if (self.mixup or self.cutmix) and self.loss == "cross_entropy":
            raise ValueError(
                f"mixup={self.mixup:g}, cutmix={self.cutmix:g} make soft labels, and loss='cross_entropy' takes hard "
                "ones; set loss to 'soft_cross_entropy' or 'binary_cross_entropy', or both to 0"
            )
        return self

    def _is_given(self, field: str) -> bool:
        """Is it written, and not as off; of a stored training, which holds all fields: is it no default?"""
        value = getattr(self, field)
        stored = self.model_fields_set.issuperset(SPELLINGS[1] + COOLDOWN)
        written = field in self.model_fields_set and not stored and bool(value)
        return written or bool(value != type(self).model_fields[field].default)

    def _check_cooldown(self) -> None:
        """A cooldown belongs to schedule wsd, fits the training, and begins after the warm-up."""
        strange = [name for name in COOLDOWN if self._is_given(name)]
        if self.schedule != "wsd":
            if strange:
                raise ValueError(
                    f"{strange[0]}={getattr(self, strange[0])!r} belongs to schedule='wsd', and schedule is "
                    f"{self.schedule!r}; write schedule: wsd, or leave it out"
                )
            return
        length = self.cooldown_share * self.epochs if self.cooldown_epochs is None else self.cooldown_epochs
        if length > self.epochs:
            raise ValueError(
                f"cooldown_epochs={length:g} exceeds epochs={self.epochs}; lower it, train longer, or write "
                "cooldown_share"
            )
        warmup = self.warmup_epochs or self.warmup_share * self.epochs
        if warmup > self.epochs - length + 1e-9:
            raise ValueError(
                f"a warm-up of {warmup:g} epochs reaches into the cooldown, the last {length:g} of epochs={self.epochs}"
                "; shorten either, train longer, or write warmup_share and cooldown_share"
            )

    def _check_order(self) -> None:
        if self.order == "nested" and (self.epochs > 1 or self.repeated_augmentation > 1 or self.schedule != "wsd"):
            raise ValueError(
                f"order='nested' shows each image once and then cools down, and epochs={self.epochs}, "
                f"repeated_augmentation={self.repeated_augmentation}, schedule={self.schedule!r}; set epochs: 1, "
                "repeated_augmentation: 1 and schedule: wsd"
            )

    @property
    def averages(self) -> bool:
        """Is the average of the weights what is measured and kept?"""
        return any(getattr(self, name) for name in SPELLINGS[0])

    def identity(self) -> dict[str, Any]:
        """What determines the weights, for a run's id."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return {
            name: value
            for name, value in self.model_dump().items()
            if name in FIRST_FIELDS or (name not in NO_IDENTITY and value != defaults[name])
        }

    def for_samples(self, n_samples: int) -> TrainingSpec:
        """These settings at the batch that `n_samples` images give, and at that batch's rates."""
        batch = min(self.batch_size, n_samples) if self.cap_batch else self.batch_size
        power = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}[self.lr_scaling]
        scale = (batch / (self.lr_batch or self.batch_size)) ** power
        if batch == self.batch_size and scale == 1:
            return self
        rates = {"lr": self.lr * scale, "min_lr": self.min_lr * scale, "lr_batch": batch}
        return self.model_copy(update={"batch_size": batch, **rates})


def resolve_training(study: TrainingSpec, family: dict[str, Any], where: str) -> TrainingSpec:
    """A family's training: defaults < preset (the family's, else the study's) < the study's fields < the family's.

    Raises:
        StudyError: an unknown preset or field, an impossible value.
    """
    written = study.model_dump(include=study.model_fields_set)
    return read_spec(TrainingSpec, laid(written, family), where)


def stored_training(fields: Mapping[str, Any]) -> TrainingSpec:
    """A training as a record holds it: all its fields, so that nothing of its preset is laid beneath them.

    Fields that came later then have their defaults, which is what was done. Earlier versions called a preset a
    recipe.
    """
    named = {("preset" if name == "recipe" else name): value for name, value in fields.items()}
    if not named.keys() >= FIRST_FIELDS:
        return TrainingSpec.model_validate(named)
    return TrainingSpec.model_validate(named | {"preset": None}).model_copy(update={"preset": named.get("preset")})


def laid(beneath: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Fields over fields; one that is written in another unit above gives way."""
    hidden = {name for names in SPELLINGS if not above.keys().isdisjoint(names) for name in names}
    return {name: value for name, value in beneath.items() if name not in hidden} | dict(above)


def _epochs(data: Mapping[str, Any]) -> int | None:
    """The written number of epochs; None where none is, or none that can be: that is refused with the other fields."""
    try:
        return int(data["epochs"])
    except (KeyError, TypeError, ValueError):
        return None
