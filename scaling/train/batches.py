"""The order of images and where random numbers come from: functions of (seed, epoch, step), nothing to save or lose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from scaling.specs.horizon import cooldown_start, steps_per_epoch
from scaling.specs.training import TrainingSpec
from scaling.streams import stream


@dataclass(frozen=True)
class Draw:
    """Where the random numbers of some images of one global batch come from.

    They are drawn for the whole batch and cut to the share, so that no result depends on the number of workers.

    seed: the run's. place: (epoch, step). share: which of the n_global images, as positions in the batch. images: of
    the whole batch, which training images they are, where their flips alternate; else None.
    """

    seed: int
    place: tuple[int, int]
    share: slice | np.ndarray
    n_global: int
    images: np.ndarray | None = None

    def generator(self, name: str) -> np.random.Generator:
        return stream(name, self.seed, *self.place)

    def flips(self, random: np.random.Generator) -> np.ndarray:
        """Which of the share's images are flipped, (n,) bool: half of them; in alternation, each in every other epoch.

        Source: Jordan (2024), section 3.6: the second epoch flips what the first did not, so that two epochs show 2 N
        different views of N images, where random flips show 1.5 N.
        """
        drawn = random.random(self.n_global) < 0.5
        if self.images is not None:
            drawn = first_flips(self.seed, int(self.images.max()).bit_length())[self.images] ^ bool(self.place[0] % 2)
        return drawn[self.share]


@lru_cache(maxsize=32)
def first_flips(seed: int, bits: int) -> np.ndarray:
    """(2^bits,) which training images are flipped in even epochs; of one image the same, however many there are."""
    return stream("flips", seed).random(2**bits) < 0.5


def epoch_batches(n_samples: int, batch_size: int, seed: int, epoch: int, repeats: int = 1) -> list[np.ndarray]:
    """A permutation of range(n_samples) cut into `steps_per_epoch` global batches whose sizes differ by at most one.

    Even batches spare batch norm the tiny last batch; every image is seen once an epoch. With `repeats` r an epoch is
    still n_samples views: the first ceil(n_samples / r) images of the permutation, each r times in a row (the last as
    often as fit), so that the copies, augmented differently, meet in one batch; over epochs all come equally often.

    Source: Hoffer et al. (2020); DeiT's RASampler, which cuts its epoch to n_samples views likewise. Deviation: it
    deals the copies out to different GPUs, and rounds an epoch down to a multiple of 256.
    """
    order = stream("order", seed, epoch).permutation(n_samples)
    if repeats > 1:
        order = np.repeat(order[: math.ceil(n_samples / repeats)], repeats)[:n_samples]
    return np.array_split(order, steps_per_epoch(n_samples, batch_size))


def nested_batches(rounds: np.ndarray, spec: TrainingSpec, seed: int) -> list[np.ndarray]:
    """The one epoch of order 'nested': whole batches up to the cooldown, which shares out what is left evenly.

    The images come in rounds of one of each class, each permuted by a stream of its own, so that the first k rounds are
    those of the subset of k images a class, and steps before its cooldown are those of every larger subset.

    Args:
        rounds: (images a class, classes) positions of the images, as `subsets.nested_rounds` gives them.
        spec: with the batch of this number of images.
    """
    order = np.concatenate([stream("rounds", seed, number).permutation(row) for number, row in enumerate(rounds)])
    steps = steps_per_epoch(len(order), spec.batch_size)
    whole = cooldown_start(spec, steps)
    cut = whole * spec.batch_size
    return [*order[:cut].reshape(whole, spec.batch_size), *np.array_split(order[cut:], steps - whole)]


def to_input(
    images: np.ndarray | torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> torch.Tensor:
    """(n, h, w, 3) uint8 -> normalised float32 (n, 3, h, w) on the device, channel after channel in memory.

    An array must be a copy (fancy indexing makes one): a tensor would otherwise share, and could overwrite, the
    memory of the object store.
    """
    there = images if isinstance(images, torch.Tensor) else torch.from_numpy(images)
    return scale_pixels(there.to(device), mean, std)


def scale_pixels(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The same of images on the device."""
    pixels = images.permute(0, 3, 1, 2).contiguous().float().div_(255)
    offset, scale = (constant(values, images.device).view(1, 3, 1, 1) for values in (mean, std))
    return pixels.sub_(offset).div_(scale)


@lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Numbers that lie on the device once and for all: a copy would stop the host at each use. Nobody writes to it."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
