"""Placement against closed forms and against Pillow's paste and crop with the published rounding."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scaling.data.recordings.visual_angle import GREY, place, placement_ratio
from scaling.errors import StudyError


def pillow_place(image, ratio):
    """The published arithmetic, on Pillow: sizes and corners rounded by numpy."""
    pixels = Image.fromarray(image)
    size = np.array(pixels.size)
    target = (ratio * size).round().astype(int)
    if ratio >= 1:
        screen = Image.new("RGB", tuple(int(t) for t in target), "gray")
        screen.paste(pixels, tuple(int(c) for c in ((target - size) / 2).round().astype(int)))
        return np.asarray(screen)
    left, upper = (int(c) for c in ((size - target) / 2).round().astype(int))
    return np.asarray(pixels.crop((left, upper, left + int(target[0]), upper + int(target[1]))))


@pytest.mark.parametrize("ratio", [1.0, 1.1, 1.25, 1.5, 2.0, 8 / 3, 0.25, 0.4, 0.5, 0.6, 0.75, 0.99])
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (9, 6), (13, 10)])
def test_as_published(ratio, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(place(image, ratio), pillow_place(image, ratio))


def test_twice_as_wide_a_view():
    """A stimulus of 4 degrees before a model of 8: a quarter of the screen, in the middle, untouched."""
    image = np.random.default_rng(0).integers(0, 127, (320, 320, 3), dtype=np.uint8)
    screen = place(image, placement_ratio(stimulus_degrees=4))
    assert screen.shape == (640, 640, 3)
    np.testing.assert_array_equal(screen[160:480, 160:480], image)
    assert (screen == GREY).all(axis=-1).mean() == 0.75


def test_half_the_view_is_the_middle_of_the_image():
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    np.testing.assert_array_equal(place(image, placement_ratio(16, 8)), image[2:6, 2:6])


def test_batches_are_placed_like_single_images():
    images = np.random.default_rng(1).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    for ratio in (0.5, 1.0, 1.7):
        np.testing.assert_array_equal(place(images, ratio), np.stack([place(image, ratio) for image in images]))
    assert place(images, 1.0) is images


@pytest.mark.parametrize("degrees", [(0, 8), (-4, 8), (4, 0), (float("nan"), 8), (4, float("inf"))])
def test_bad_degrees(degrees):
    with pytest.raises(StudyError, match="give a positive number of degrees"):
        placement_ratio(*degrees)


@pytest.mark.parametrize(
    ("image", "ratio", "words"),
    [
        (np.zeros((4, 4, 3)), 2.0, "float64 images of shape"),
        (np.zeros((4, 4), np.uint8), 2.0, r"\(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), 2.0, r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), 0.1, "leaves 0 × 0"),
    ],
)
def test_bad_images(image, ratio, words):
    with pytest.raises(StudyError, match=words):
        place(image, ratio)
