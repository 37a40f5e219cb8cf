"""Families that have one published size and are scaled in width alone: AlexNet and CORnet-S."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling.models.shapes import STANDARD, Shape, named_shape, without_meaning

if TYPE_CHECKING:
    from torch import nn

    from scaling.specs.model import ModelSpec


class _OneSize:
    """`size` = channels of the first convolution (64: the published network), `depth` and `heads` have no meaning."""

    name: str
    candidates: tuple[str, ...]
    standard = 64

    def shape(self, name: str) -> Shape:
        return named_shape(self.name, {STANDARD: Shape(self.standard)}, name)

    def step(self, heads: int | None) -> int:
        return 1

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        return without_meaning(spec, "depth", "heads")

    def layers(self, model: nn.Module) -> list[str]:
        return list(self.candidates)


class AlexNetFamily(_OneSize):
    """torchvision's AlexNet; fc6 reads maps of 6 x 6 pixels at most, so N depends on the image size."""

    name = "alexnet"
    candidates = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return False

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from scaling.models.alexnet import AlexNet

        return AlexNet(spec.size, image_size, n_classes)


class CORnetSFamily(_OneSize):
    """CORnet-S; each area is one candidate layer, as it stands after its last time step."""

    name = "cornet_s"
    candidates = ("V1", "V2", "V4", "IT", "pool")

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return True

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from scaling.models.cornet import CORnetS

        return CORnetS(spec.size, image_size, n_classes)
