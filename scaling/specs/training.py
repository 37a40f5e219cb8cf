"""How a run is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from scaling.specs.base import Spec, read_spec
from scaling.specs.presets import preset_fields

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

# In every run's id; fields that came later enter it only where they differ from their default, which is what was done
# before they came: an id never changes by an addition.
FIRST_FIELDS = frozenset({
    "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule", "warmup_epochs", "min_lr",
    "label_smoothing", "clip_norm", "augmentation",
})  # fmt: skip
NO_IDENTITY = frozenset({"recipe"})


class TrainingSpec(Spec):
    """How a run is trained. Durations in epochs; probabilities and shares in [0, 1]; 0 switches a thing off.

    recipe: a named set of values for the fields below (`scaling training` lists them with their sources); fields that
    the study file writes, at the study or at the family, come before the recipe's.

    batch_size: the global one. cap_batch: a subset smaller than it is one batch a step, instead of being refused.
    lr: the peak rate at a global batch of lr_batch images (by default batch_size); at another batch it is
    lr . (batch / lr_batch)^p, with p = 1 for lr_scaling 'linear', 1/2 for 'sqrt', 0 for 'none'; min_lr likewise.
    weight_decay_end: where a cosine takes the weight decay by the last step. warmup_epochs: linear from 0.
    loss: 'cross_entropy' of hard labels (with label smoothing), 'soft_cross_entropy' of mixed labels, or
    'binary_cross_entropy' of every class against the rest, averaged over classes.

    augmentation: the geometry: 'flip'; 'crop_flip', a random crop after padding by an eighth; 'resized_crop', a random
    window of min_crop to 1 of the area, resized, and a flip.
    policy: 'randaugment' (2 operations of magnitude randaugment_magnitude), or 'three_augment' (grey, solarised or
    blurred). colour_jitter: strength of brightness, contrast and saturation. erasing: probability of random erasing.
    mixup, cutmix: alpha of the Beta distribution; with both, each batch draws one. repeated_augmentation: how often
    an image stands in an epoch's batches, augmented anew each time; the epoch then shows that much fewer images, so
    that its length and samples_seen stay.
    drop_path: stochastic depth's largest rate, growing linearly with depth. ema: decay of the weights' average, which
    is then what is measured and kept.

    precision: of the forward pass; 'bfloat16' is autocast. sync_batch_norm: statistics over all workers.
    """

    recipe: str | None = None
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    cap_batch: bool = False
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    lr: PositiveFloat = 0.1
    lr_batch: PositiveInt | None = None
    lr_scaling: Literal["linear", "sqrt", "none"] = "linear"
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    weight_decay_end: NonNegativeFloat | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_epochs: NonNegativeInt = 0
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
    drop_path: Fraction = 0.0
    ema: Fraction = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    sync_batch_norm: bool = True

    @model_validator(mode="wrap")
    @classmethod
    def _expand_recipe(cls, data: Any, handler: ModelWrapValidatorHandler[TrainingSpec]) -> TrainingSpec:
        """Lay the recipe beneath what is written; `model_fields_set` stays what was written."""
        if not isinstance(data, dict) or data.get("recipe") is None:
            return handler(data)
        spec = handler({**preset_fields(str(data["recipe"])), **data})
        object.__setattr__(spec, "__pydantic_fields_set__", set(data))
        return spec

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves none of epochs={self.epochs}; lower it or train longer"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr} exceeds lr={self.lr}; lower it")
        if (self.mixup or self.cutmix) and self.loss == "cross_entropy":
            raise ValueError(
                f"mixup={self.mixup:g}, cutmix={self.cutmix:g} make soft labels, and loss='cross_entropy' takes hard "
                "ones; set loss to 'soft_cross_entropy' or 'binary_cross_entropy', or both to 0"
            )
        return self

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
    """A family's training: defaults < recipe (the family's, else the study's) < the study's fields < the family's.

    Raises:
        StudyError: an unknown recipe or field, an impossible value.
    """
    written = study.model_dump(include=study.model_fields_set)
    return read_spec(TrainingSpec, {**written, **family}, where)
