"""Width-scaled ResNets (He et al. 2016), timm's implementation with a stem that fits the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling.models.shapes import SMALL_IMAGE, Shape, impossible_depth, named_shape, without_meaning

if TYPE_CHECKING:
    from torch import nn

    from scaling.specs.model import ModelSpec

# Blocks a stage; 18 to 152 are He et al.'s Table 1, 10 is the same with one basic block a stage.
DEPTHS: dict[int, tuple[int, int, int, int]] = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECK_FROM_DEPTH = 50


class ResNetFamily:
    """Channels [w, w, 2w, 4w, 8w] for stem and four stages, w = `size` (64: the standard network).

    Up to 64 pixels the stem is one 3 x 3 convolution without stride or pooling, as He et al. have it for CIFAR.
    """

    default_depth = 18
    standard = 64

    def shape(self, name: str) -> Shape:
        return named_shape("resnet", {str(depth): Shape(self.standard, depth) for depth in DEPTHS}, name)

    def step(self, heads: int | None) -> int:
        return 2

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        if spec.size % 2:
            return f"size={spec.size} is odd; a resnet's width must be even: use {spec.size + 1}"
        return impossible_depth(spec, DEPTHS) or without_meaning(spec, "heads")

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return True

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        from timm.models.resnet import BasicBlock, Bottleneck, ResNet
        from torch import nn

        depth = spec.depth or self.default_depth
        width = spec.size
        model = ResNet(
            Bottleneck if depth >= BOTTLENECK_FROM_DEPTH else BasicBlock,
            DEPTHS[depth],
            num_classes=n_classes,
            stem_type="deep",  # timm scales the stem's width only in its deep form; its convolutions are replaced below
            stem_width=width // 2,
            channels=(width, 2 * width, 4 * width, 8 * width),
        )
        if image_size <= SMALL_IMAGE:
            model.conv1 = nn.Conv2d(3, width, kernel_size=3, padding=1, bias=False)
            model.maxpool = nn.Identity()
        else:
            model.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        return model

    def layers(self, model: nn.Module) -> list[str]:
        blocks = [
            f"layer{stage}.{index}" for stage in (1, 2, 3, 4) for index in range(len(getattr(model, f"layer{stage}")))
        ]
        return ["act1", *blocks, "global_pool"]
