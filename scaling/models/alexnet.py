"""AlexNet in one stream (Krizhevsky 2014, as torchvision has it), scaled in width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scaling.models.shapes import SMALL_IMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS = (1, 3, 6, 4, 4)  # of the five convolutions, in units of the first one's 64
HIDDEN = 64  # units of fc6 and fc7, in the same units: 4096
POOLED = 6  # pixels a side of the map that fc6 reads, at most
DROPOUT = 0.5


class AlexNet(nn.Module):
    """Five convolutions and three linear layers; `width` = channels of the first (64: the standard network).

    Up to 64 pixels the first convolution is 5 x 5 with stride 1 (2 above 32 pixels) instead of 11 x 11 with stride 4,
    and the three poolings are padded so that none loses the border: 8 pixels end at 1, 32 and 64 at 4.

    Args:
        width: channels of the first convolution. image_size: pixels a side. n_classes: outputs.
    """

    def __init__(self, width: int, image_size: int, n_classes: int) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        channels = [width * factor for factor in CHANNELS]
        self.conv1 = _block(3, channels[0], _first_kernel(image_size), _pool(small))
        self.conv2 = _block(channels[0], channels[1], (5, 1, 2), _pool(small))
        self.conv3 = _block(channels[1], channels[2], (3, 1, 1))
        self.conv4 = _block(channels[2], channels[3], (3, 1, 1))
        self.conv5 = _block(channels[3], channels[4], (3, 1, 1), _pool(small))
        side = min(POOLED, _map_side(image_size))
        self.pool = nn.AdaptiveAvgPool2d(side)
        hidden = HIDDEN * width
        self.fc6 = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(channels[4] * side**2, hidden), nn.ReLU())
        self.fc7 = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(hidden, hidden), nn.ReLU())
        self.fc8 = nn.Linear(hidden, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(images)))))
        logits: Tensor = self.fc8(self.fc7(self.fc6(torch.flatten(self.pool(maps), 1))))
        return logits

    def get_classifier(self) -> nn.Module:
        return self.fc8


def _block(n_in: int, n_out: int, kernel_stride_padding: Sequence[int], *pool: nn.Module) -> nn.Sequential:
    kernel, stride, padding = kernel_stride_padding
    return nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride, padding), nn.ReLU(), *pool)


def _pool(small: bool) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size=3, stride=2, padding=1 if small else 0)


def _first_kernel(image_size: int) -> tuple[int, int, int]:
    """Kernel, stride and padding of the first convolution."""
    if image_size > SMALL_IMAGE:
        return 11, 4, 2
    return 5, 1 if image_size <= SMALL_IMAGE // 2 else 2, 2


def _map_side(image_size: int) -> int:
    """Pixels a side behind conv5: (224 + 4 - 11) // 4 + 1 = 55, then 27, 13 and 6."""
    kernel, stride, padding = _first_kernel(image_size)
    side = (image_size + 2 * padding - kernel) // stride + 1
    lost = 1 if image_size <= SMALL_IMAGE else 3
    for _ in range(3):
        side = (side - lost) // 2 + 1
    return side
