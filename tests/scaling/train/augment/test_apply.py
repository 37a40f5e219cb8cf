"""What a model is given: as before where nothing new is asked, with maps moved along, whoever computes which share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.transforms import functional as vision

from scaling.specs.training import TrainingSpec
from scaling.streams import stream
from scaling.train.augment import apply as augment
from scaling.train.augment.apply import Look, prepare, to_eval_input
from scaling.train.batches import Draw, to_input

N, SIDE = 24, 20
RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)
MAPS = RANDOM.random((N, SIDE, SIDE)).astype(np.float32)
MAPS[3] = np.nan
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
WHOLE = Draw(5, (3, 1), slice(None), N)


def look(size: int = SIDE) -> Look:
    return Look(MEAN, STD, torch.device("cpu"), size)


def first_version(images: torch.Tensor, augmentation: str, draw: Draw) -> torch.Tensor:
    """Flip and padded crop as the first runs had them, of the same numbers."""
    if augmentation == "none":
        return images
    random = stream("windows", draw.seed, *draw.place)
    flips = torch.from_numpy(random.random(draw.n_global)[draw.share] < 0.5)
    images = torch.where(flips.view(-1, 1, 1, 1), images.flip(-1), images)
    if augmentation == "flip":
        return images
    side = images.shape[-1]
    padding = max(1, round(side / 8))
    offsets = random.integers(0, 2 * padding + 1, size=(draw.n_global, 2))[draw.share]
    padded = functional.pad(images, [padding] * 4)
    crops = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, offsets, strict=True)]
    return torch.stack(crops)


@pytest.fixture(params=[1, 1000], ids=["one-by-one", "at-once"])
def way(request, monkeypatch) -> None:
    """Large images and small ones are moved in two ways."""
    monkeypatch.setattr(augment, "LARGE_PX", request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("augmentation", ["none", "flip", "crop_flip"])
def test_flips_and_crops_stay_what_the_first_runs_had_bit_for_bit(augmentation):
    spec = TrainingSpec(augmentation=augmentation)
    pixels, none = prepare(IMAGES.copy(), None, spec, look(), WHOLE)
    assert none is None
    expected = first_version(to_input(IMAGES.copy(), MEAN, STD, torch.device("cpu")), augmentation, WHOLE)
    assert torch.equal(pixels, expected)
    with_maps, maps = prepare(IMAGES.copy(), MAPS, spec, look(), WHOLE)
    assert torch.equal(with_maps, expected)
    assert torch.equal(maps, first_version(torch.from_numpy(np.nan_to_num(MAPS))[:, None], augmentation, WHOLE)[:, 0])


SPECS = [
    {"augmentation": "flip", "policy": "randaugment"},
    {"augmentation": "crop_flip", "colour_jitter": 0.4},
    {"augmentation": "resized_crop", "erasing": 0.6},
    {"augmentation": "resized_crop", "policy": "randaugment", "erasing": 0.5, "colour_jitter": 0.1},
    {"augmentation": "resized_crop", "policy": "three_augment", "colour_jitter": 0.3},
    {"augmentation": "none", "policy": "three_augment"},
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fields", SPECS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_an_images_view_does_not_depend_on_its_share(fields):
    """By ranks, and by an index in any order and with repetitions, as partners and micro-batches ask."""
    spec = TrainingSpec(**fields)
    whole, whole_maps = prepare(IMAGES.copy(), MAPS, spec, look(16), WHOLE)
    assert whole.shape == (N, 3, 16, 16)
    for share in (slice(0, None, 3), slice(2, None, 3), np.array([7, 7, 0, 23, 3])):
        pixels, maps = prepare(IMAGES[share].copy(), MAPS[share], spec, look(16), Draw(5, (3, 1), share, N))
        torch.testing.assert_close(pixels, whole[share], atol=2e-6, rtol=0)
        torch.testing.assert_close(maps, whole_maps[share], atol=2e-6, rtol=0)


@pytest.mark.parametrize("fields", SPECS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_views_change_with_seed_epoch_and_step(fields):
    spec = TrainingSpec(**fields)
    draws = [Draw(seed, (epoch, step), slice(None), N) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1)]
    seen = {prepare(IMAGES.copy(), None, spec, look(), draw)[0].double().sum().item() for draw in draws}
    assert len(seen) == 8


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("augmentation", ["none", "flip", "crop_flip", "resized_crop"])
@pytest.mark.parametrize("policy", ["none", "randaugment", "three_augment"])
def test_maps_move_with_their_images_and_keep_their_values(augmentation, policy):
    """An image that is its own map: where only places change, they stay the same up to rounding to grey levels."""
    spec = TrainingSpec(augmentation=augmentation, policy=policy, erasing=0.5, colour_jitter=0.5)
    maps = IMAGES[..., 0] / np.float32(255)
    plain = TrainingSpec(augmentation=augmentation)
    alike = Look((0.0,) * 3, (1.0,) * 3, torch.device("cpu"), 16)
    pixels, moved = prepare(IMAGES.copy(), maps, plain, alike, WHOLE)
    assert (pixels[:, 0] - moved).abs().max() <= 1.01 / 255
    _, under_policy = prepare(IMAGES.copy(), maps, spec, alike, WHOLE)
    if policy != "randaugment":
        assert torch.equal(under_policy, moved), "colours and erasing leave maps alone"
    else:
        changed = (under_policy != moved).flatten(1).any(1)
        assert 0 < changed.sum() < N, "operations of place move some"


def test_colours_change_alike_in_parts_that_fit_a_cache(monkeypatch):
    spec = TrainingSpec(policy="randaugment", colour_jitter=0.3, erasing=0.3)
    whole, maps = prepare(IMAGES.copy(), MAPS, spec, look(), WHOLE)
    monkeypatch.setattr(augment, "CACHED_PIXELS", 5 * SIDE**2)
    parts, part_maps = prepare(IMAGES.copy(), MAPS, spec, look(), WHOLE)
    torch.testing.assert_close(parts, whole, atol=2e-6, rtol=0)
    torch.testing.assert_close(part_maps, maps, atol=2e-6, rtol=0)


def test_an_image_without_a_map_gets_zeros():
    _, maps = prepare(IMAGES.copy(), MAPS, TrainingSpec(augmentation="resized_crop"), look(16), WHOLE)
    assert torch.equal(maps[3], torch.zeros(16, 16))
    assert maps.isfinite().all()


@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_larger_stored_images_give_their_middle(augmentation):
    pixels, maps = prepare(IMAGES.copy(), MAPS, TrainingSpec(augmentation=augmentation), look(12), WHOLE)
    middle = to_eval_input(IMAGES.copy(), look(12))
    expected = vision.center_crop(to_input(IMAGES.copy(), MEAN, STD, torch.device("cpu")), [12, 12])
    assert torch.equal(middle, expected)
    for image, seen in zip(middle, pixels, strict=True):
        assert torch.equal(seen, image) or (augmentation == "flip" and torch.equal(seen, image.flip(-1)))
    assert maps.shape == (N, 12, 12)


def test_crops_of_larger_stored_images_reach_every_corner():
    """20 pixels padded by 2 a side, windows of 16: 9 x 9 places, all of them drawn."""
    images = np.zeros((600, SIDE, SIDE, 3), np.uint8)
    images[..., 0], images[..., 1] = np.arange(1, 21)[:, None], np.arange(1, 21)
    alike = Look((0.0,) * 3, (1 / 255,) * 3, torch.device("cpu"), 16)
    spec, draw = TrainingSpec(augmentation="crop_flip"), Draw(0, (0, 0), slice(None), 600)
    pixels, _ = prepare(images, None, spec, alike, draw)
    assert pixels.shape == (600, 3, 16, 16)
    rows = {int(value) for value in pixels[:, 0, 8, 8].round()}
    assert rows == set(range(7, 16)), "the window's row 8 is the image's row 8 - 2 to 8 + 6, counted from 1"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_jitter_changes_colours_as_torchvision(monkeypatch, which):
    """One change at a time: the factors of the others are 1."""
    pixels = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    factors = WHOLE.generator("jitter").uniform(0.6, 1.4, (N, 3))
    for other, change in enumerate(("brightness", "contrast", "saturation")):
        if other != which:
            monkeypatch.setattr(augment.colour, change, lambda pixels, factor: pixels)
    adjust = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation)[which]
    theirs = torch.stack([adjust(image, factor) for image, factor in zip(pixels, factors[:, which], strict=True)])
    torch.testing.assert_close(augment.jitter(pixels, 0.4, WHOLE), theirs, atol=1e-5, rtol=0)
