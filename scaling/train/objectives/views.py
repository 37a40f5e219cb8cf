"""Augmented views for self-supervised objectives, whole batches at a time on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from scaling.streams import stream
from scaling.train.augment.colour import brightness, contrast, gaussian_blur, grey, saturation, solarise, where
from scaling.train.batch import Batch, Setting
from scaling.train.batches import constant

ASPECT = math.log(4 / 3)
JITTER_SHARE, GREY_SHARE = 0.8, 0.2  # Chen et al. 2020, appendix A
STRENGTHS = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue at colour strength 1 (ibid.)
TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
N_DRAWS = 14


@dataclass(frozen=True)
class View:
    """Random resized crop of a share of the `area`, flip, colours at a strength, blur and solarisation at a rate."""

    area: tuple[float, float]
    colour: float
    blur: float
    solarise: float = 0.0


def draw_views(seed: int, place: tuple[int, int], n_global: int, n_views: int) -> np.ndarray:
    """(n_global, n_views, 14) uniform numbers of step (epoch, step), float32; each view has a stream of its own."""
    streams = (stream("views", seed, *place, index) for index in range(n_views))
    return np.stack([random.random((n_global, N_DRAWS), dtype=np.float32) for random in streams], 1)


def make_view(batch: Batch, view: View, index: int, setting: Setting) -> torch.Tensor:
    """View `index` of every image, (n, 3, h, w), scaled as the images are.

    Crop and flip (bilinear), then on the [0, 1] scale: jitter in 8 of 10 images, grey in 2 of 10, blur, solarisation.
    Its random numbers are the batch's `views`; or those of its place, drawn for the global batch and cut to the share.

    Source: Chen et al. (2020), appendix A; Caron et al. (2021). Deviations: the four colour changes come in one order,
    and hue turns the chroma plane of YIQ.
    """
    u = _numbers(batch, index, setting)
    pixels = (crop_flip(batch.images, u[:, :5], view.area) * setting.std + setting.mean).clamp(0, 1)
    if view.colour > 0:
        pixels = where(u[:, 5] < JITTER_SHARE, colour_jitter(pixels, u[:, 6:10], view.colour), pixels)
        pixels = where(u[:, 10] < GREY_SHARE, grey(pixels).expand_as(pixels), pixels)
    if view.blur > 0:
        pixels = where(u[:, 11] < view.blur, gaussian_blur(pixels, u[:, 12]), pixels)
    if view.solarise > 0:
        pixels = where(u[:, 13] < view.solarise, solarise(pixels), pixels)
    return (pixels - setting.mean) / setting.std


def _numbers(batch: Batch, index: int, setting: Setting) -> torch.Tensor:
    if batch.views is not None:
        return batch.views[:, index]
    assert batch.place is not None
    random = stream("views", setting.seed, *batch.place, index)
    drawn = random.random((batch.n_global, N_DRAWS), dtype=np.float32)[batch.share]
    return torch.from_numpy(drawn).to(batch.images.device)


@lru_cache(maxsize=16)
def yiq(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, 3) from RGB to YIQ, and back; they stay on the device."""
    with torch.inference_mode(False):
        to_yiq = constant(TO_YIQ, device, dtype)
        return to_yiq, torch.linalg.inv(to_yiq)


def crop_flip(images: torch.Tensor, u: torch.Tensor, area: tuple[float, float]) -> torch.Tensor:
    """Windows of a uniform share of the area and log-uniform aspect in [3/4, 4/3], resized back, half of them flipped.

    Args:
        u: (n, 5) uniform in [0, 1): area, aspect, column, row, flip.
    """
    share, aspect = area[0] + (area[1] - area[0]) * u[:, 0], ((2 * u[:, 1] - 1) * ASPECT).exp()
    width, height = (share * aspect).sqrt().clamp(max=1), (share / aspect).sqrt().clamp(max=1)
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = width * torch.where(u[:, 4] < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = height
    theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * (2 * u[:, 2] - 1), (1 - height) * (2 * u[:, 3] - 1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def colour_jitter(pixels: torch.Tensor, u: torch.Tensor, strength: float) -> torch.Tensor:
    """Brightness, contrast, saturation by factors of 1 +- 0.8 strength (none below 0), hue by +- 0.2 strength turns.

    Args:
        pixels: (n, 3, h, w) in [0, 1]. u: (n, 4) uniform.
    """
    change = (2 * u - 1) * strength * constant(STRENGTHS, u.device, u.dtype)
    factor = (1 + change[:, :3]).clamp(min=0)
    pixels = brightness(pixels, factor[:, 0])
    pixels = contrast(pixels, factor[:, 1])
    pixels = saturation(pixels, factor[:, 2])
    return turn_hue(pixels, change[:, 3].clamp(-0.5, 0.5)).clamp(0, 1)


def turn_hue(pixels: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotate the chroma (I, Q) of each image by `turns` of a circle: (n, 3, h, w), (n,)."""
    to_yiq, from_yiq = yiq(pixels.device, pixels.dtype)
    cos, sin = torch.cos(2 * math.pi * turns), torch.sin(2 * math.pi * turns)
    rotation = torch.zeros(len(turns), 3, 3, dtype=pixels.dtype, device=pixels.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1], rotation[:, 1, 2], rotation[:, 2, 1], rotation[:, 2, 2] = cos, -sin, sin, cos
    return torch.einsum("nij,njhw->nihw", from_yiq @ rotation @ to_yiq, pixels)
