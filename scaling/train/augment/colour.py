"""Changes of colour and sharpness of whole batches on the device; pixels are (n, 3, h, w) in [0, 1]."""

from __future__ import annotations

import torch
from torch.nn import functional

from scaling.train.batches import constant

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision
BLUR_SIGMA, BLUR_SIDE = (0.1, 2.0), 224  # pixels at 224; scaled to the image. The kernel is a tenth of the side
SOLARISE_ABOVE = 0.5
SMOOTH = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))  # over 13: Pillow's SMOOTH


def per_image(values: torch.Tensor) -> torch.Tensor:
    """(n,) -> (n, 1, 1, 1)."""
    return values[:, None, None, None]


def where(chosen: torch.Tensor, changed: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Image by image: `changed` where `chosen`, (n,) bool, else `kept`."""
    return torch.where(per_image(chosen), changed, kept)


def grey(pixels: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) -> (n, 1, h, w)."""
    return torch.einsum("c,nchw->nhw", constant(LUMA, pixels.device, pixels.dtype), pixels)[:, None]


def blend(pixels: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """clip(other + factor . (pixels - other)): 1 leaves an image, 0 makes it `other`, above 1 leads away from it."""
    return (other + per_image(factor) * (pixels - other)).clamp(0, 1)


def brightness(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Away from black."""
    return (per_image(factor) * pixels).clamp(0, 1)


def contrast(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Away from the mean grey of the image."""
    return blend(pixels, grey(pixels).mean((2, 3), keepdim=True), factor)


def saturation(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Away from the grey image."""
    return blend(pixels, grey(pixels), factor)


def sharpness(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Away from the image smoothed by [[1 1 1] [1 5 1] [1 1 1]] / 13, whose outermost pixels stay as they are."""
    kernel = constant(SMOOTH, pixels.device, pixels.dtype)
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, 3, 3)
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(pixels, kernel, groups=pixels.shape[1])
    return blend(pixels, smooth, factor)


def solarise(pixels: torch.Tensor, threshold: torch.Tensor | float = SOLARISE_ABOVE) -> torch.Tensor:
    """Invert what is not below the threshold."""
    return torch.where(pixels >= threshold, 1 - pixels, pixels)


def gaussian_blur(pixels: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Blur each image with its own sigma, (0.1 + 1.9 u) . side / 224 pixels; reflected at the border."""
    n, channels, _, side = pixels.shape
    radius = max(1, round(side / 20))
    sigma = (BLUR_SIGMA[0] + (BLUR_SIGMA[1] - BLUR_SIGMA[0]) * u) * side / BLUR_SIDE
    offsets = torch.arange(-radius, radius + 1, device=pixels.device)
    taps = functional.softmax(-offsets.square() / (2 * sigma[:, None].square()), dim=1).repeat_interleave(channels, 0)
    padded = functional.pad(pixels, [radius] * 4, mode="reflect").reshape(1, n * channels, side + 2 * radius, -1)
    rows = functional.conv2d(padded, taps[:, None, :, None], groups=n * channels)
    return functional.conv2d(rows, taps[:, None, None, :], groups=n * channels).reshape(pixels.shape)
