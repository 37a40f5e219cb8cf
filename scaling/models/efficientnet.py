"""EfficientNets (Tan & Le 2019) by name and by width, timm's implementation with strides that fit the image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scaling.models.shapes import SMALL_IMAGE, Shape, impossible_depth, named_shape, without_meaning

if TYPE_CHECKING:
    from torch import nn

    from scaling.specs.model import ModelSpec

# Blocks of the whole network -> depth coefficient; 7 has one block a stage. B1's 1.1 gives the blocks of B2's 1.2.
DEPTHS = {7: 0.2, 16: 1.0, 23: 1.2, 26: 1.4, 32: 1.8, 39: 2.2, 45: 2.6, 55: 3.1}
# Width coefficients in percent and blocks: the coefficients of Tan & Le's released code, as in timm
SIZES = {
    "b0": Shape(100, 16),
    "b1": Shape(100, 23),
    "b2": Shape(110, 23),
    "b3": Shape(120, 26),
    "b4": Shape(140, 32),
    "b5": Shape(160, 39),
    "b6": Shape(180, 45),
    "b7": Shape(200, 55),
}
# Tan & Le's Table 1: expansion, kernel, channels, blocks, stride
STAGES = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
          (6, 3, 320, 1, 1))  # fmt: skip
FEATURES = 1280
FINE_BELOW = 50  # percent: channels are rounded to 8 as published, to 2 (4 at least) below this


class EfficientNetFamily:
    """`size` = width coefficient in percent (100: B0), `depth` = blocks (16: B0).

    The network halves the image five times; up to 64 pixels the stem's stride is 1, below 16 the second stage's too.
    """

    default_depth = 16
    standard = 100

    def shape(self, name: str) -> Shape:
        return named_shape("efficientnet", SIZES, name)

    def step(self, heads: int | None) -> int:
        return 1

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        return impossible_depth(spec, DEPTHS) or without_meaning(spec, "heads")

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return True

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from timm.layers import get_act_layer
        from timm.models._efficientnet_builder import decode_arch_def, round_channels
        from timm.models.efficientnet import EfficientNet
        from torch import nn

        rounding = {"divisor": 8} if spec.size >= FINE_BELOW else {"divisor": 2, "channel_min": 4}
        rounded = partial(round_channels, multiplier=spec.size / 100, **rounding)
        model = EfficientNet(
            block_args=decode_arch_def(stage_words(image_size), DEPTHS[spec.depth or self.default_depth]),
            num_classes=n_classes,
            num_features=rounded(FEATURES),
            round_chs_fn=rounded,
            act_layer=get_act_layer("swish"),
            norm_layer=nn.BatchNorm2d,
        )
        if image_size <= SMALL_IMAGE:
            model.conv_stem.stride = (1, 1)
        return model

    def layers(self, model: nn.Module) -> list[str]:
        stages: nn.Sequential = model.blocks  # type: ignore[assignment]
        blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(stages) for j in range(len(stage))]  # type: ignore[arg-type]
        return ["bn1", *blocks, "bn2", "global_pool"]


def stage_words(image_size: int) -> list[list[str]]:
    """The stages in timm's notation, the second without stride below 16 pixels."""
    words = []
    for index, (expansion, kernel, channels, blocks, stride) in enumerate(STAGES):
        kind = "ds" if index == 0 else "ir"
        strides = 1 if index == 1 and image_size < 16 else stride
        words.append([f"{kind}_r{blocks}_k{kernel}_s{strides}_e{expansion}_c{channels}_se0.25"])
    return words
