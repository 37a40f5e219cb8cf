"""The order of images and their augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling.study import TrainingSpec
from scaling.train.batches import augment, epoch_batches, steps_per_epoch

N = 400
WHOLE = slice(None)


@given(st.integers(1, 500), st.integers(1, 80), st.integers(0, 2**32), st.integers(0, 1000))
def test_an_epoch_shows_every_image_once_in_even_batches(n_samples, batch_size, seed, epoch):
    batches = epoch_batches(n_samples, batch_size, seed, epoch)
    sizes = [len(batch) for batch in batches]
    assert sorted(np.concatenate(batches).tolist()) == list(range(n_samples))
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == steps_per_epoch(n_samples, batch_size) == -(-n_samples // batch_size)


def test_the_order_depends_on_seed_and_epoch_alone():
    orders = {(s, e): np.concatenate(epoch_batches(50, 8, s, e)).tolist() for s in range(4) for e in range(4)}
    again = {place: np.concatenate(epoch_batches(50, 13, *place)).tolist() for place in reversed(orders)}
    assert again == orders, "whatever was drawn before, and however it is cut"
    assert len({tuple(order) for order in orders.values()}) == 16


@pytest.fixture
def images() -> torch.Tensor:
    """Pixels that are all different, and above 0: the padding can be told from them."""
    return torch.arange(1.0, 1 + N * 3 * 16 * 16).view(N, 3, 16, 16)


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop_flip"])
@pytest.mark.parametrize("world", [2, 3, 7])
def test_augmentation_does_not_depend_on_the_number_of_workers(images, augmentation, world):
    spec = TrainingSpec(augmentation=augmentation)
    whole = augment(images, spec, 5, (3, 1), WHOLE, N)
    for rank in range(world):
        share = slice(rank, None, world)
        assert torch.equal(augment(images[share], spec, 5, (3, 1), share, N), whole[share])


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
    spec, counts = TrainingSpec(augmentation=augmentation), dict.fromkeys(variants(images[0], padding), 0)
    augmented = augment(images, spec, 0, (0, 0), WHOLE, N)
    for image, seen in zip(images, augmented, strict=True):
        (found,) = [place for place, variant in variants(image, padding).items() if torch.equal(variant, seen)]
        counts[found] += 1
    assert len(counts) == n_variants
    chi2 = sum((count - N / n_variants) ** 2 / (N / n_variants) for count in counts.values())
    assert chi2 < n_variants - 1 + 4 * np.sqrt(2 * n_variants), "four standard deviations of chi squared"


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (32, 4), (224, 28)])
def test_the_padding_is_an_eighth_of_the_side(side, padding):
    """The farthest crop over many images shows exactly `padding` empty rows and columns."""
    seen = augment(torch.ones(800, 1, side, side), TrainingSpec(augmentation="crop_flip"), 0, (0, 0), WHOLE, 800)
    assert int((seen[:, 0].sum(2) == 0).sum(1).max()) == padding
    assert int((seen[:, 0].sum(1) == 0).sum(1).max()) == padding


def test_augmentation_changes_with_seed_epoch_and_step(images):
    spec = TrainingSpec(augmentation="crop_flip")
    places = [(seed, (epoch, step)) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1)]
    sums = {augment(images, spec, seed, place, WHOLE, N)[:, :, 0].sum().item() for seed, place in places}
    assert len(sums) == 8


def test_no_augmentation_leaves_the_images(images):
    assert torch.equal(augment(images, TrainingSpec(), 0, (0, 0), WHOLE, N), images)
