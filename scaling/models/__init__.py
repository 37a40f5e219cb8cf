"""Model families: size ladders with stems that suit 8 x 8 to 224 x 224 pixels, and any timm model by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scaling.errors import StudyError, known_names
from scaling.models.convnext import ConvNeXtFamily
from scaling.models.efficientnet import DEPTHS, EfficientNetFamily
from scaling.models.mup import DRAWN, base_model, mup_problem
from scaling.models.one_size import AlexNetFamily, CORnetSFamily
from scaling.models.resnet import ResNetFamily
from scaling.models.shapes import Shape
from scaling.models.timm_family import TimmFamily
from scaling.models.vit import DEIT3_SIZES, VIT_SIZES, ViTFamily
from scaling.specs.model import ModelSpec
from scaling.specs.training import TrainingSpec

if TYPE_CHECKING:
    from torch import nn


class Family(Protocol):
    """What a family gives: its sizes, a check, a module, and the layers that may be committed to regions.

    All but the `timm` family check without importing torch.
    """

    @property
    def standard(self) -> int:
        """The `size` of the published network that width multiples refer to."""

    def shape(self, name: str) -> Shape:
        """The published size of this name; a StudyError lists the known ones."""

    def step(self, heads: int | None) -> int | None:
        """Sizes are multiples of this; None: the family has no widths."""

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        """Why `spec` cannot be built at this image size (value, limit, remedy), or None."""

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        """Whether a training step depends on which images are in a pass together."""

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module: ...

    def layers(self, model: nn.Module) -> list[str]:
        """Names of the candidate layers, input side first; the last one is the readout (penultimate) layer."""


FAMILIES: dict[str, Family] = {
    "resnet": ResNetFamily(),
    "convnext": ConvNeXtFamily(),
    "vit": ViTFamily("vit", VIT_SIZES),
    "deit3": ViTFamily("deit3", DEIT3_SIZES, deit3=True),
    "efficientnet": EfficientNetFamily(),
    "alexnet": AlexNetFamily(),
    "cornet_s": CORnetSFamily(),
    "timm": TimmFamily(),
}


def check_model(spec: ModelSpec, image_size: int | None, where: str = "model") -> None:
    """Refuse a model that cannot be built, before anything starts; only timm's models by name need torch for it.

    Raises:
        StudyError: the family is unknown, the size, depth or heads are impossible, or it cannot take such images.
    """
    check_family(spec.family, where)
    family = FAMILIES[spec.family]
    problem = family.check(spec, image_size) or mup_problem(spec, family, image_size)
    if problem:
        raise StudyError(f"{problem} ({where}, {spec.label()})")


def check_family(name: str, where: str) -> None:
    """Refuse a family that does not exist."""
    if name not in FAMILIES:
        raise StudyError(f"unknown model family '{name}' ({where}); {known_names(name, FAMILIES)}")


def check_training(spec: ModelSpec, training: TrainingSpec, where: str) -> None:
    """Refuse what a model cannot be trained with, as far as that is known without building it.

    Raises:
        StudyError: a drop_path, tuned or fixed, and no residual blocks that can be dropped.
    """
    if training.drop_path and not may_drop(spec):
        raise StudyError(
            f"drop_path={training.drop_path:g} needs residual blocks that can be dropped, and {spec.label()} has none "
            f"({where}.drop_path); set it to 0 for family '{spec.family}', or, if it is tuned, leave it out of "
            "tune.fields or train this family in a study of its own"
        )


def may_drop(spec: ModelSpec) -> bool:
    """Whether a model has residual blocks beyond its first, see `drop_path.set_drop_path`; timm's may have."""
    if spec.family == "efficientnet":
        return spec.depth != min(DEPTHS)  # one block a stage
    return spec.family not in ("alexnet", "cornet_s") and spec.depth != 1


def build_model(spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
    """A freshly initialised module that maps (batch, 3, image_size, image_size) to (batch, n_classes) logits.

    Random numbers come from torch's global generator (on the meta device none are drawn), as many for one
    parametrization as for the other.
    """
    check_model(spec, image_size)
    model = FAMILIES[spec.family].build(spec, image_size, n_classes)
    if (base := base_model(spec)) is not None:
        _follow(model, base, image_size, n_classes)
    return model


def _follow(model: nn.Module, base: ModelSpec, image_size: int, n_classes: int) -> None:
    """Parametrize a model by comparison with its base."""
    import torch

    from scaling.models.mup.parametrize import parametrize

    with torch.device("meta"):
        twin = FAMILIES[base.family].build(base, image_size, n_classes)
    parametrize(model, twin, DRAWN[base.family])


def has_batch_norm(spec: ModelSpec) -> bool:
    """Whether the model normalises by statistics of the images that are in a pass together."""
    return FAMILIES[spec.family].has_batch_norm(spec)


def candidate_layers(spec: ModelSpec, model: nn.Module) -> list[str]:
    """The named activations that layer commitment chooses from, input side first."""
    return FAMILIES[spec.family].layers(model)
