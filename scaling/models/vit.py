"""Width-scaled vision transformers (Dosovitskiy et al. 2021; DeiT, Touvron et al. 2021), timm's implementation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from scaling.study import ModelSpec


class ViTFamily:
    """Embedding dimension w = `size` (384 with 12 blocks and 6 heads: DeiT-S), MLP ratio 4, class token."""

    default_depth = 12
    default_heads = 6

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        heads = spec.heads or self.default_heads
        if spec.size % heads:
            return f"size={spec.size} is no multiple of heads={heads}; use {math.ceil(spec.size / heads) * heads}"
        if image_size is not None and image_size % patch_size(image_size):
            patch = patch_size(image_size)
            return (
                f"image_size={image_size} is no multiple of the patch of {patch} pixels; "
                f"set dataset.image_size to {image_size // patch * patch} or {(image_size // patch + 1) * patch}"
            )
        return None

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(
            img_size=image_size,
            patch_size=patch_size(image_size),
            num_classes=n_classes,
            embed_dim=spec.size,
            depth=spec.depth or self.default_depth,
            num_heads=spec.heads or self.default_heads,
        )

    def layers(self, model: nn.Module) -> list[str]:
        blocks = [f"blocks.{index}" for index in range(len(model.blocks))]  # type: ignore[arg-type]
        return ["patch_embed", *blocks, "fc_norm"]


def patch_size(image_size: int) -> int:
    """Pixels a patch side: the power of two nearest image_size / 8, between 2 and 16 (8: 2, 32: 4, 64: 8, 224: 16)."""
    return int(min(16, max(2, 2 ** round(math.log2(image_size / 8)))))
