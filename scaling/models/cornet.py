"""CORnet-S (Kubilius et al. 2018, 2019): four areas after the ventral stream, three of them recurrent."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from scaling.models.shapes import SMALL_IMAGE

STEPS = {"V2": 2, "V4": 4, "IT": 2}  # times that an area runs in a forward pass
BOTTLENECK = 4  # channels inside an area, over the channels it gives


class RecurrentArea(nn.Module):
    """A bottleneck that runs `steps` times on its own output, each time with batch norms of its own.

    x_0 = conv_input(input); x_t+1 = relu(norm3_t(conv3(relu(norm2_t(conv2(relu(norm1_t(conv1(x_t)))))))) + skip_t(x_t))
    with skip_0 = a normalised 1 x 1 convolution of stride 2 and skip_t = identity; conv2 has stride 2 at t = 0 only.

    Args:
        n_in, n_out: channels of input (batch, n_in, height, width) and of the output, half as high and wide.
    """

    def __init__(self, n_in: int, n_out: int, steps: int) -> None:
        super().__init__()
        inner = BOTTLENECK * n_out
        self.conv_input = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.skip = nn.Conv2d(n_out, n_out, 1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_out, inner, 1, bias=False)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2, padding=1, bias=False)
        self.conv3 = nn.Conv2d(inner, n_out, 1, bias=False)
        self.norm1 = nn.ModuleList(nn.BatchNorm2d(inner) for _ in range(steps))
        self.norm2 = nn.ModuleList(nn.BatchNorm2d(inner) for _ in range(steps))
        self.norm3 = nn.ModuleList(nn.BatchNorm2d(n_out) for _ in range(steps))

    def forward(self, below: Tensor) -> Tensor:
        state: Tensor = self.conv_input(below)
        for step, (norm1, norm2, norm3) in enumerate(zip(self.norm1, self.norm2, self.norm3, strict=True)):
            shortcut = self.norm_skip(self.skip(state)) if step == 0 else state
            inner = functional.relu(norm1(self.conv1(state)))
            inner = functional.conv2d(inner, self.conv2.weight, stride=2 if step == 0 else 1, padding=1)
            inner = functional.relu(norm2(inner))
            state = functional.relu(norm3(self.conv3(inner)) + shortcut)
        return state


class CORnetS(nn.Module):
    """V1 (two convolutions), V2, V4, IT with w, 2w, 4w, 8w channels, w = `width` (64: 53.4 million parameters).

    Up to 64 pixels V1 begins with a 3 x 3 convolution without stride or pooling, instead of 7 x 7 with both.
    """

    def __init__(self, width: int, image_size: int, n_classes: int) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        kernel, stride = (3, 1) if small else (7, 2)
        self.V1 = nn.Sequential(
            nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Identity() if small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.V2 = RecurrentArea(width, 2 * width, STEPS["V2"])
        self.V4 = RecurrentArea(2 * width, 4 * width, STEPS["V4"])
        self.IT = RecurrentArea(4 * width, 8 * width, STEPS["IT"])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(8 * width, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.IT(self.V4(self.V2(self.V1(images))))))
        return logits

    def get_classifier(self) -> nn.Module:
        return self.fc
