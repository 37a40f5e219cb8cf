"""RandAugment's operations against timm's on Pillow images, and how they are drawn; 3-Augment; random erasing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from timm.data import auto_augment
from timm.data.random_erasing import RandomErasing
from torchvision.transforms.v2 import functional as vision

from scaling.specs.training import TrainingSpec
from scaling.train.augment import policies
from scaling.train.augment.erasing import draw_boxes, erase
from scaling.train.batches import Draw

SIDE, FILL = 32, (0.4, 0.5, 0.6)
NAMES = list(policies.OPERATIONS)
TIMM = auto_augment._RAND_INCREASING_TRANSFORMS


def smooth_images(n: int) -> np.ndarray:
    """Blobs of colour with some noise, (n, 32, 32, 3) uint8: every grey level, and no channel alike."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((n, 3, 6, 6)))
    grown = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1).numpy()
    noisy = (grown * 240 + random.uniform(0, 15, grown.shape)).astype(np.uint8)
    return np.ascontiguousarray(noisy.transpose(0, 2, 3, 1))


IMAGES = smooth_images(6)
PIXELS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255


def by_timm(name: str, image: np.ndarray, level: float, sign: int, monkeypatch) -> np.ndarray:
    """timm's own operation at a level of 10, its sign fixed, bilinear, uncovered places filled with FILL."""
    monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value: sign * value)
    hparams = {"img_mean": tuple(round(255 * part) for part in FILL), "interpolation": Image.Resampling.BILINEAR}
    operation = auto_augment.AugmentOp(name, prob=1.0, magnitude=level, hparams=hparams)
    return np.asarray(operation(Image.fromarray(image))).astype(float)


@pytest.mark.parametrize(("ours", "theirs"), list(zip(NAMES, TIMM, strict=True)), ids=NAMES)
@pytest.mark.parametrize("level", [0.3, 2.6, 7.1, 9.0, 10.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_operations_are_timms_to_about_a_grey_level(ours, theirs, level, sign, monkeypatch):
    chosen = np.full(len(IMAGES), NAMES.index(ours))
    found = PIXELS.clone()
    policies.apply_operations(found, None, chosen, np.full(len(IMAGES), level / 10), np.full(len(IMAGES), sign), FILL)
    level = 9.9 if (ours, level) == ("Posterize", 10.0) else level  # Pillow refuses to keep 0 bits; 1 is kept here
    expected = np.stack([by_timm(theirs, image, level, sign, monkeypatch) for image in IMAGES])
    off = np.abs(255 * found.permute(0, 2, 3, 1).numpy() - expected)
    assert np.quantile(off, 0.995) <= 1.5, "Pillow rounds and truncates"
    assert off.mean() < 0.75


def test_the_list_of_operations_is_timms():
    renamed = {name: name.removesuffix("Increasing").removesuffix("Rel") for name in TIMM}
    assert list(renamed.values()) == NAMES
    assert set(policies.MOVES) | set(policies.COLOURS) == set(NAMES)


def test_each_image_gets_its_own_operation_and_magnitude():
    """A batch that mixes all operations equals its images one by one."""
    n = len(NAMES)
    pixels = PIXELS[torch.arange(n) % len(PIXELS)]
    level, sign = np.linspace(0.1, 1, n), np.where(np.arange(n) % 2, 1, -1)
    maps = pixels[:, 0].clone()
    whole, moved = pixels.clone(), maps.clone()
    policies.apply_operations(whole, moved, np.arange(n), level, sign, FILL)
    for k in range(n):
        one = slice(k, k + 1)
        alone, map_alone = pixels[one].clone(), maps[one].clone()
        policies.apply_operations(alone, map_alone, np.array([k]), level[one], sign[one], FILL)
        torch.testing.assert_close(alone, whole[one], atol=1e-6, rtol=0)
        torch.testing.assert_close(map_alone, moved[one], atol=1e-6, rtol=0)
    is_move = np.array([name in policies.MOVES for name in NAMES])
    assert torch.equal((moved != maps).flatten(1).any(1), torch.from_numpy(is_move))


def test_nothing_chosen_leaves_images():
    found = PIXELS.clone()
    policies.apply_operations(found, None, np.full(6, -1), np.ones(6), np.ones(6, int), FILL)
    assert torch.equal(found, PIXELS)


def test_operations_are_drawn_evenly_and_each_is_applied_to_half(monkeypatch):
    """Two layers over 6,000 images: counts by chi squared, magnitudes as timm's normal one, cut at 10."""
    seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def record(pixels, maps, chosen, level, sign, fill):
        seen.append((chosen, level, sign))

    monkeypatch.setattr(policies, "apply_operations", record)
    draw = Draw(0, (0, 0), slice(None), 6000)
    policies.randaugment(torch.zeros(6000, 3, 2, 2), None, TrainingSpec(policy="randaugment"), FILL, draw)
    assert len(seen) == 2
    chosen, level, sign = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    applied = chosen[chosen >= 0]
    assert abs(len(applied) / 12_000 - 0.5) < 0.02
    assert stats.chisquare(np.bincount(applied, minlength=15)).pvalue > 1e-3
    assert abs(sign.mean()) < 0.04
    assert level.max() <= 1
    assert stats.kstest(10 * level[level < 1], "truncnorm", args=(-18, 2, 9, 0.5)).pvalue > 1e-3


def test_three_augment_takes_one_of_three():
    n = 300
    pixels = PIXELS[torch.arange(n) % 6]
    found = policies.three_augment(
        pixels.clone(), None, TrainingSpec(policy="three_augment"), FILL, Draw(0, (0, 0), slice(None), n)
    )
    counts = {"grey": 0, "solarised": 0, "blurred": 0}
    for before, after in zip(pixels, found, strict=True):
        level = (before * 255).round().to(torch.uint8)
        solarised = vision.solarize(level, 128).float() / 255
        grey = vision.rgb_to_grayscale(before, 3)
        if torch.allclose(after, solarised, atol=1e-6):
            counts["solarised"] += 1
        elif torch.allclose(after, grey, atol=1e-3):
            counts["grey"] += 1
        else:
            counts["blurred"] += 1
            assert after.std() < before.std() + 1e-6
            assert abs(after.mean() - before.mean()) < 0.02
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_erased_rectangles_are_noise_and_the_rest_stays():
    n, shape = 200, (24, 24)
    draw = Draw(3, (1, 2), slice(None), n)
    boxes, seeds = draw_boxes(draw, shape, 0.25)
    found = erase(torch.full((n, 3, *shape), 7.0), 0.25, draw)
    assert len(np.unique(seeds)) == n
    noise = []
    for image, (top, left, height, width) in zip(found, boxes, strict=True):
        inside = torch.zeros(shape, dtype=torch.bool)
        inside[top : top + height, left : left + width] = True
        assert (image[:, ~inside] == 7).all()
        noise.append(image[:, inside].flatten())
    values = torch.cat(noise).numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs((boxes[:, 2] > 0).mean() - 0.25) < 0.1


def test_rectangles_have_the_distribution_of_timms():
    n, shape = 3000, (64, 64)
    boxes, _ = draw_boxes(Draw(0, (0, 0), slice(None), n), shape, 1.0)
    erasing, theirs = RandomErasing(probability=1.0, mode="pixel", device="cpu"), []
    for _ in range(600):
        found = erasing(torch.full((1, *shape), 9.0))[0]
        rows, columns = (found != 9).nonzero().T
        theirs.append([rows.min(), columns.min(), rows.max() - rows.min() + 1, columns.max() - columns.min() + 1])
    theirs = np.array(theirs)
    for of in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2] / b[:, 3], lambda b: b[:, 0], lambda b: b[:, 1]):
        assert stats.ks_2samp(of(boxes), of(theirs)).pvalue > 1e-3
