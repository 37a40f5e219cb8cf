"""The order of images and their augmentation, as pure functions of (seed, epoch, step): nothing to save or lose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from scaling.study import TrainingSpec

ORDER_STREAM, AUGMENT_STREAM = 1, 2  # keep the two uses of one seed independent
CROP_PADDING = 1 / 8  # of the image side, as He et al. 2016 pad CIFAR's 32 pixels by 4


def epoch_batches(n_samples: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """A permutation of range(n_samples) cut into `steps_per_epoch` global batches whose sizes differ by at most one.

    Even batches spare batch norm the tiny last batch; every image is seen once an epoch.
    """
    order = np.random.default_rng([seed, ORDER_STREAM, epoch]).permutation(n_samples)
    return np.array_split(order, steps_per_epoch(n_samples, batch_size))


def steps_per_epoch(n_samples: int, batch_size: int) -> int:
    return math.ceil(n_samples / batch_size)


def to_input(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(n, h, w, 3) uint8 -> normalised float32 (n, 3, h, w) on the device.

    `images` must be a copy (fancy indexing makes one): a tensor would otherwise share, and could overwrite, the
    memory of the object store.
    """
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)
    offset = torch.tensor(mean, device=device).view(1, 3, 1, 1)
    return pixels.sub_(offset).div_(torch.tensor(std, device=device).view(1, 3, 1, 1))


def augment(
    images: torch.Tensor, spec: TrainingSpec, seed: int, place: tuple[int, int], share: slice, n_global: int
) -> torch.Tensor:
    """Flip, and crop after padding by an eighth, with random numbers drawn for the whole global batch.

    Args:
        images: (n, 3, h, w), the share of the global batch that this worker holds.
        place: (epoch, step).
        share: which of the n_global images these are; the result does not depend on the number of workers.
    """
    if spec.augmentation == "none":
        return images
    random = np.random.default_rng([seed, AUGMENT_STREAM, *place])
    flips = torch.from_numpy(random.random(n_global)[share] < 0.5).to(images.device)
    images = torch.where(flips.view(-1, 1, 1, 1), images.flip(-1), images)
    if spec.augmentation == "flip":
        return images
    side = images.shape[-1]
    padding = max(1, round(side * CROP_PADDING))
    offsets = random.integers(0, 2 * padding + 1, size=(n_global, 2))[share]
    padded = functional.pad(images, [padding] * 4)
    rows = torch.from_numpy(offsets[:, :1] + np.arange(side)).to(images.device)
    columns = torch.from_numpy(offsets[:, 1:] + np.arange(side)).to(images.device)
    index = torch.arange(len(images), device=images.device)
    return padded[index[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
