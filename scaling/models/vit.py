"""Width-scaled vision transformers: ViT (Dosovitskiy et al. 2021; DeiT, Touvron et al. 2021) and DeiT-III, timm's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling.models.shapes import Shape, named_shape

if TYPE_CHECKING:
    from torch import nn

    from scaling.specs.model import ModelSpec

HUGE = "huge"
# Dosovitskiy et al.'s Table 1 and DeiT's Table 1: width, blocks, heads
VIT_SIZES = {
    "tiny": Shape(192, 12, 3),
    "small": Shape(384, 12, 6),
    "base": Shape(768, 12, 12),
    "large": Shape(1024, 24, 16),
    HUGE: Shape(1280, 32, 16, HUGE),
}
# timm's deit3_*; 'tiny' has ViT's shape: DeiT-III published none, the published study trained one
DEIT3_SIZES = {**VIT_SIZES, "medium": Shape(512, 12, 8)}
LARGEST_PATCH = {HUGE: 14}  # pixels, instead of 16


@dataclass(frozen=True)
class ViTFamily:
    """Embedding dimension w = `size` (384 with 12 blocks and 6 heads: DeiT-S), MLP ratio 4, class token.

    sizes: by name. deit3: with DeiT-III's layer scale (from 1e-6) and a class token without position (Touvron et al.
    2022), as timm's deit3 models.
    """

    name: str
    sizes: dict[str, Shape]
    deit3: bool = False
    default_depth = 12
    default_heads = 6
    standard = 384

    def shape(self, name: str) -> Shape:
        return named_shape(self.name, self.sizes, name)

    def step(self, heads: int | None) -> int:
        return heads or self.default_heads

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        heads = spec.heads or self.default_heads
        if spec.size % heads:
            return f"size={spec.size} is no multiple of heads={heads}; use {math.ceil(spec.size / heads) * heads}"
        patch = patch_size(image_size or 224, spec.variant)
        if image_size is not None and image_size % patch:
            return (
                f"image_size={image_size} is no multiple of the patch of {patch} pixels; "
                f"set dataset.image_size to {image_size // patch * patch} or {(image_size // patch + 1) * patch}"
            )
        return None

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return False

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(
            img_size=image_size,
            patch_size=patch_size(image_size, spec.variant),
            num_classes=n_classes,
            embed_dim=spec.size,
            depth=spec.depth or self.default_depth,
            num_heads=spec.heads or self.default_heads,
            no_embed_class=self.deit3,
            init_values=1e-6 if self.deit3 else None,
        )

    def layers(self, model: nn.Module) -> list[str]:
        blocks = [f"blocks.{index}" for index in range(len(model.blocks))]  # type: ignore[arg-type]
        return ["patch_embed", *blocks, "fc_norm"]


def patch_size(image_size: int, variant: str | None = None) -> int:
    """Pixels a patch side: the power of two nearest image_size / 8, between 2 and 16 (8: 2, 32: 4, 64: 8, 224: 16).

    Where that gives 16, the published ViT-H has 14.
    """
    patch = int(min(16, max(2, 2 ** round(math.log2(image_size / 8)))))
    return LARGEST_PATCH.get(variant or "", patch) if patch == 16 else patch
