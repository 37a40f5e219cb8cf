"""Random erasing: a rectangle of an image becomes noise."""

from __future__ import annotations

import math

import numpy as np
import torch

from scaling.streams import SEED_LIMIT
from scaling.train.augment.windows import first_fitting
from scaling.train.batches import Draw

AREAS, LOG_ASPECTS = (0.02, 1 / 3), (math.log(0.3), -math.log(0.3))
ATTEMPTS = 10


def erase(pixels: torch.Tensor, probability: float, draw: Draw) -> torch.Tensor:
    """With some probability an image's rectangle becomes standard normal noise, pixel by pixel; changes `pixels`.

    Args:
        pixels: (n, 3, h, w) scaled images.

    Source: Zhong et al. (2017), timm's RandomErasing in mode 'pixel': one rectangle, area uniform in [0.02, 1/3] of
    the image, aspect (height / width) log-uniform in [0.3, 1 / 0.3], the first of 10 that is smaller than the image.
    """
    if probability == 0:
        return pixels
    boxes, seeds = draw_boxes(draw, pixels.shape[-2:], probability)
    noise = torch.Generator(pixels.device)
    for index in np.flatnonzero(boxes[:, 2]):
        top, left, height, width = (int(number) for number in boxes[index])
        noise.manual_seed(int(seeds[index]))
        patch = torch.randn((pixels.shape[1], height, width), generator=noise, device=pixels.device)
        pixels[index, :, top : top + height, left : left + width] = patch
    return pixels


def draw_boxes(draw: Draw, shape: tuple[int, int] | torch.Size, probability: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) top, left, height, width, these 0 where nothing is erased; (n,) seeds of the noise."""
    random = draw.generator("erasing")
    n = draw.n_global
    seeds = random.integers(2**63 - 1, size=n)[draw.share] | SEED_LIMIT  # none that a run's weights are drawn with
    erased = random.random(n)[draw.share] < probability
    area = shape[0] * shape[1] * random.uniform(*AREAS, (n, ATTEMPTS))[draw.share]
    aspect = np.exp(random.uniform(*LOG_ASPECTS, (n, ATTEMPTS))[draw.share])
    place = random.random((n, 2))[draw.share]
    sizes = np.rint(np.sqrt(np.stack([area * aspect, area / aspect], -1))).astype(int)
    fits = (sizes < np.array(shape)).all(-1) & (sizes > 0).all(-1) & erased[:, None]
    chosen = first_fitting(sizes, fits, 0)
    places = np.floor(place * (np.array(shape) - chosen + 1)).astype(int)
    return np.concatenate([places, chosen], 1), seeds
