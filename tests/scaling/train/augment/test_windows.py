"""Random resized crops against torchvision, by Pillow and by matrix products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from scaling.train.augment import windows
from scaling.train.batches import Draw

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
PLACES = np.array([[0, 0, 40, 40], [3, 5, 20, 30], [10, 2, 7, 9], [1, 1, 39, 31], [36, 36, 4, 4], [0, 17, 13, 23]])
FLIPS = np.array([False, True, False, False, True, True])
WHOLE = slice(None)


def by_pillow(image: np.ndarray, place: np.ndarray, flip: bool, size: int) -> torch.Tensor:
    """torchvision's own of one PIL image, in grey levels."""
    found = vision.resized_crop(vision.to_pil_image(image), *place.tolist(), [size, size], antialias=True)
    return vision.pil_to_tensor(found.transpose(0) if flip else found).float()


def by_torchvision(image: np.ndarray, place: np.ndarray, flip: bool, size: int) -> torch.Tensor:
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    found = vision.resized_crop(tensor, *place.tolist(), [size, size], antialias=True)
    return (found.flip(-1) if flip else found).float()


@pytest.mark.parametrize("size", [8, 24, 40, 56])
@pytest.mark.parametrize("threads", [1, 2])
def test_windows_are_torchvisions(size, threads):
    """Of tensors to a level where a processor resizes in another way, of Pillow's images to a level."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = windows.resize_on_cpu(IMAGES, PLACES, FLIPS, size, np.ones(3), np.zeros(3))
    finally:
        torch.set_num_threads(before)
    for reference in (by_pillow, by_torchvision):
        theirs = torch.stack([reference(*given, size) for given in zip(IMAGES, PLACES, FLIPS, strict=True)])
        assert (ours - theirs).abs().max() <= 1
    assert (ours == theirs).float().mean() > 0.999


def test_pixels_are_scaled_and_shifted_by_channel():
    scale, offset = np.array([0.5, 2.0, -1.0]), np.array([1.0, 0.0, 3.0])
    plain = windows.resize_on_cpu(IMAGES, PLACES, FLIPS, 16, np.ones(3), np.zeros(3))
    ours = windows.resize_on_cpu(IMAGES, PLACES, FLIPS, 16, scale, offset)
    expected = plain * torch.tensor(scale).float().view(3, 1, 1) + torch.tensor(offset).float().view(3, 1, 1)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("size", [8, 24, 40, 56])
def test_matrix_products_resize_alike(size):
    """Grey levels are rounded after each of the two directions elsewhere: they differ by a level at most."""
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float()
    ours = windows.resize_on_device(pixels, PLACES, FLIPS, size)
    theirs = windows.resize_on_cpu(IMAGES, PLACES, FLIPS, size, np.ones(3), np.zeros(3))
    assert (ours - theirs).abs().max() <= 1.01
    maps = IMAGES[..., :1].astype(np.float32)
    exact = windows.resize_on_cpu(maps, PLACES, FLIPS, size, np.ones(1), np.zeros(1))
    torch.testing.assert_close(ours[:, :1], exact, atol=1e-2, rtol=1e-4)


def test_windows_have_the_distribution_of_torchvisions():
    """Areas, aspects and places by Kolmogorov and Smirnov."""
    n, side = 3000, 64
    ours, flips = windows.draw_windows(Draw(0, (0, 0), WHOLE, n), side, 0.08)
    torch.manual_seed(0)
    draw, image = v2.RandomResizedCrop(8), torch.zeros(3, side, side, dtype=torch.uint8)
    drawn = [draw.make_params([image]) for _ in range(1500)]
    theirs = np.array([[found[side] for side in ("top", "left", "height", "width")] for found in drawn])
    for of in (lambda w: w[:, 2] * w[:, 3], lambda w: w[:, 3] / w[:, 2], lambda w: w[:, 0], lambda w: w[:, 1]):
        assert ks_2samp(of(ours), of(theirs)).pvalue > 1e-3
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= side).all()
    assert abs(flips.mean() - 0.5) < 0.04


def test_all_of_the_area_is_a_window_as_large_as_its_aspect_allows():
    """min_area 1 fits only at aspect 1, which no attempt hits: the whole image, as torchvision falls back to."""
    found, _ = windows.draw_windows(Draw(0, (0, 0), WHOLE, 50), 1000, 1.0)
    assert (found == [0, 0, 1000, 1000]).all()


@pytest.mark.parametrize(("side", "size"), [(40, 40), (41, 40), (43, 40), (256, 224), (9, 8)])
def test_the_middle_is_torchvisions(side, size):
    image = torch.arange(side).expand(1, side, side)
    middle = windows.centre_window(side, size)
    assert torch.equal(image[:, middle, middle], vision.center_crop(image, [size, size]))
