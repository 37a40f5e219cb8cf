"""Flips and padded crops, image by image among all that there can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scaling.train.augment.apply import cut_at_once, cut_one_by_one, flip_and_crop
from scaling.train.batches import Draw

N = 400
WHOLE = slice(None)


def moved(images: torch.Tensor, augmentation: str, draw: Draw) -> torch.Tensor:
    return flip_and_crop(images, augmentation, images.shape[-1], draw)


@pytest.fixture
def images() -> torch.Tensor:
    """Pixels that are all different, and above 0: the padding can be told from them."""
    return torch.arange(1.0, 1 + N * 3 * 16 * 16).view(N, 3, 16, 16)


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop_flip"])
@pytest.mark.parametrize("world", [2, 3, 7])
def test_augmentation_does_not_depend_on_the_number_of_workers(images, augmentation, world):
    whole = moved(images, augmentation, Draw(5, (3, 1), WHOLE, N))
    for rank in range(world):
        share = slice(rank, None, world)
        assert torch.equal(moved(images[share], augmentation, Draw(5, (3, 1), share, N)), whole[share])


def variants(image: torch.Tensor, padding: int) -> dict[tuple[bool, int, int], torch.Tensor]:
    """Every flip and crop of one image, by slicing a zero-padded copy."""
    side = image.shape[-1]
    found = {}
    for flip in (False, True):
        padded = torch.zeros(3, side + 2 * padding, side + 2 * padding)
        padded[:, padding : padding + side, padding : padding + side] = image.flip(-1) if flip else image
        for y in range(2 * padding + 1):
            for x in range(2 * padding + 1):
                found[flip, y, x] = padded[:, y : y + side, x : x + side]
    return found


@pytest.mark.parametrize(("augmentation", "padding", "n_variants"), [("flip", 0, 2), ("crop_flip", 2, 50)])
def test_every_image_is_one_of_its_flips_and_crops_and_all_are_equally_likely(
    images, augmentation, padding, n_variants
):
    counts = dict.fromkeys(variants(images[0], padding), 0)
    augmented = moved(images, augmentation, Draw(0, (0, 0), WHOLE, N))
    for image, seen in zip(images, augmented, strict=True):
        (found,) = [place for place, variant in variants(image, padding).items() if torch.equal(variant, seen)]
        counts[found] += 1
    assert len(counts) == n_variants
    chi2 = sum((count - N / n_variants) ** 2 / (N / n_variants) for count in counts.values())
    assert chi2 < n_variants - 1 + 4 * np.sqrt(2 * n_variants), "four standard deviations of chi squared"


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (32, 4), (224, 28)])
def test_the_padding_is_an_eighth_of_the_side(side, padding):
    """The farthest crop over many images shows exactly `padding` empty rows and columns."""
    seen = moved(torch.ones(800, 1, side, side), "crop_flip", Draw(0, (0, 0), WHOLE, 800))
    assert int((seen[:, 0].sum(2) == 0).sum(1).max()) == padding
    assert int((seen[:, 0].sum(1) == 0).sum(1).max()) == padding


@pytest.mark.parametrize(("size", "low", "high"), [(16, -2, 2), (16, 0, 0), (12, 0, 4), (12, -1, 5), (16, 2, 2)])
def test_both_ways_of_cutting_are_one(images, size, low, high):
    random = np.random.default_rng(0)
    flips, corners = random.random(40) < 0.5, random.integers(low, high + 1, (40, 2))
    one_by_one = cut_one_by_one(images[:40], flips, corners, size)
    assert torch.equal(one_by_one, cut_at_once(images[:40], flips, corners, size))
