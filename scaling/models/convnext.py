"""Width-scaled ConvNeXts (Liu et al. 2022), timm's implementation with a stem that fits the image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scaling.models.shapes import Shape, impossible_depth, named_shape, without_meaning

if TYPE_CHECKING:
    from torch import nn

    from scaling.specs.model import ModelSpec

# Blocks a stage: Liu et al. for 18 and 36 blocks, timm's (Wightman's) small ones for 12 and 14; 4 is one a stage.
DEPTHS: dict[int, tuple[int, int, int, int]] = {
    4: (1, 1, 1, 1),
    12: (2, 2, 6, 2),
    14: (2, 2, 8, 2),
    18: (3, 3, 9, 3),
    36: (3, 3, 27, 3),
}
SIZES = {
    "atto": Shape(40, 12),
    "femto": Shape(48, 12),
    "pico": Shape(64, 12),
    "nano": Shape(80, 14),
    "tiny": Shape(96, 18),
    "small": Shape(96, 36),
    "base": Shape(128, 36),
    "large": Shape(192, 36),
    "xlarge": Shape(256, 36),
}
LINEAR_FROM_DEPTH = 18  # timm writes the smaller ones' pointwise layers as 1 x 1 convolutions: the same numbers


class ConvNeXtFamily:
    """Channels [w, 2w, 4w, 8w] of the four stages, w = `size` (96 with 18 blocks: ConvNeXt-T).

    The stem cuts the image into patches of 4 pixels, of 2 around 32 pixels and of 1 around 8 (`stem_patch`).
    """

    default_depth = 18
    standard = 96

    def shape(self, name: str) -> Shape:
        return named_shape("convnext", SIZES, name)

    def step(self, heads: int | None) -> int:
        return 1

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        return impossible_depth(spec, DEPTHS) or without_meaning(spec, "heads")

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return False

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from timm.models.convnext import ConvNeXt
        from torch import nn

        depth = spec.depth or self.default_depth
        patch = stem_patch(image_size)
        model = ConvNeXt(
            num_classes=n_classes,
            depths=DEPTHS[depth],
            dims=tuple(spec.size * factor for factor in (1, 2, 4, 8)),
            conv_mlp=depth < LINEAR_FROM_DEPTH,
        )
        if patch != 4:  # timm's own smaller patch makes the first stage stride too
            stem = nn.Conv2d(3, spec.size, kernel_size=patch, stride=patch)
            nn.init.trunc_normal_(stem.weight, std=0.02)  # as timm's other layers
            nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
            model.stem[0] = stem
        return model

    def layers(self, model: nn.Module) -> list[str]:
        stages: nn.Sequential = model.stages  # type: ignore[assignment]
        blocks = [f"stages.{i}.blocks.{j}" for i, stage in enumerate(stages) for j in range(len(stage.blocks))]  # type: ignore[arg-type]
        return ["stem", *blocks, "head.flatten"]  # the last: pooled and normalised


def stem_patch(image_size: int) -> int:
    """Pixels a stem patch side: the power of two nearest image_size / 16, from 1 to 4 (8: 1, 32: 2, 64 and 224: 4)."""
    return int(min(4, max(1, 2 ** round(math.log2(image_size / 16)))))
