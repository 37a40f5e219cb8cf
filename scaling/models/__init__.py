"""Model families: size ladders built through timm, with stems that suit 8 x 8 to 224 x 224 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scaling.errors import StudyError, known_names
from scaling.models.resnet import ResNetFamily
from scaling.models.vit import ViTFamily
from scaling.study import ModelSpec

if TYPE_CHECKING:
    from torch import nn


class Family(Protocol):
    """What a family gives: a check without torch, a module, and the layers that may be committed to regions."""

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        """Why `spec` cannot be built at this image size (value, limit, remedy), or None."""

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module: ...

    def layers(self, model: nn.Module) -> list[str]:
        """Names of the candidate layers, input side first; the last one is the readout (penultimate) layer."""


FAMILIES: dict[str, Family] = {"resnet": ResNetFamily(), "vit": ViTFamily()}


def check_model(spec: ModelSpec, image_size: int | None, where: str = "model") -> None:
    """Refuse a model that cannot be built, before anything starts and without importing torch.

    Raises:
        StudyError: the family is unknown or the size, depth or heads are impossible.
    """
    if spec.family not in FAMILIES:
        raise StudyError(f"unknown model family '{spec.family}' ({where}); {known_names(spec.family, FAMILIES)}")
    problem = FAMILIES[spec.family].check(spec, image_size)
    if problem:
        raise StudyError(f"{problem} ({where}, {spec.label()})")


def build_model(spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
    """A freshly initialised module that maps (batch, 3, image_size, image_size) to (batch, n_classes) logits.

    Random numbers come from torch's global generator (on the meta device none are drawn).
    """
    check_model(spec, image_size)
    return FAMILIES[spec.family].build(spec, image_size, n_classes)


def candidate_layers(spec: ModelSpec, model: nn.Module) -> list[str]:
    """The named activations that layer commitment chooses from, input side first."""
    return FAMILIES[spec.family].layers(model)
