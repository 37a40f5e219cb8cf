"""Data set simulated-clickme: digits in clutter beside a coloured patch that hints at the class, and importance maps.

Nobody has looked at these images: the map is where the digit is, as ClickMe's maps lie on what people recognise an
object by (Linsley et al. 2019). It tests the harmonizer and says nothing about people. scikit-learn's digits are the
only data; every constant below is an assumption. A model can read the class off the digit, off the patch (a shortcut),
or off both; in held-out images the patch says nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.image_set import ImageSet
from scaling.errors import StudyError
from scaling.streams import fixed_stream

NAME = "simulated-clickme"
IMAGE_SIZE, SMALLEST = 16, 16  # pixels a side: by default, at least
PLACEMENTS = 4  # images of each digit, each with its own place, colours and clutter
MAP_SHARE = 0.6  # of the training images; every held-out image has its map
DIGIT_SIDE, PATCH_SIDE = 5 / 8, 1 / 8  # of the image's side
MAP_SIGMA = 1 / 16  # of the image's side: the blur of the map
PATCH_VALIDITY = (0.3, 0.0)  # the patch shows the image's own class so often, else one drawn evenly: training, held-out
DIGIT_BRIGHTNESS, DIGIT_OPACITY = (0.7, 1.0), (0.8, 1.0)  # channel by channel; image by image
CLUTTER_MEAN, CLUTTER_STD = np.float32(0.4), np.float32(0.05)  # of grey levels in [0, 1]
COARSE_CELLS = 8  # a side, of the coarse part of the clutter


def build_simulated_clickme(image_size: int | None = None) -> tuple[ImageSet, ImageSet]:
    """(training, held-out) images with maps, 5,748 and 1,440, of different digits; always the same.

    Raises:
        StudyError: images smaller than 16 pixels.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    side = image_size or IMAGE_SIZE
    if side < SMALLEST:
        raise StudyError(f"image_size={side} of dataset '{NAME}' is below {SMALLEST}: its digits would not be legible")
    bunch = load_digits()
    parts = train_test_split(np.arange(len(bunch.target)), test_size=0.2, random_state=0, stratify=bunch.target)
    sets = []
    for number, part in enumerate(parts):
        rng = fixed_stream(NAME, number)
        chosen = np.repeat(part, PLACEMENTS)
        images, maps = _draw(bunch.images[chosen] / 16, bunch.target[chosen], side, PATCH_VALIDITY[number], rng)
        if number == 0:
            maps[rng.random(len(maps)) >= MAP_SHARE] = np.nan
        sets.append(ImageSet(images, bunch.target[chosen].astype(np.int64), maps))
    return sets[0], sets[1]


def _draw(
    digits: NDArray[np.float64], labels: NDArray[np.int64], side: int, validity: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Images (n, side, side, 3) of digits (n, 8, 8) in [0, 1], and their maps (n, side, side)."""
    n, wide, patch = len(digits), round(side * DIGIT_SIDE), max(2, round(side * PATCH_SIDE))
    ink, rows = np.zeros((n, side, side), np.float32), rng.integers(0, side - wide + 1, n)
    _put(ink, _enlarge(digits, wide), rows, rng.integers(0, side - wide + 1, n))
    below = rows < (side - wide) / 2  # the patch lies below or above the digit, where there is more room
    room = np.where(below, side - wide - rows, rows) - patch + 1
    patch_rows = np.where(below, rows + wide, 0) + (rng.random(n) * room).astype(np.int64)
    cover = np.zeros_like(ink)
    _put(cover, np.ones((n, patch, patch)), patch_rows, rng.integers(0, side - patch + 1, n))
    hues = _hues(int(labels.max()) + 1)
    shown = np.where(rng.random(n) < validity, labels, rng.integers(0, len(hues), n))
    opacity = ink * rng.uniform(*DIGIT_OPACITY, (n, 1, 1)).astype(np.float32)
    pixels = _clutter(n, side, rng)
    pixels += opacity[:, None] * (rng.uniform(*DIGIT_BRIGHTNESS, (n, 3, 1, 1)).astype(np.float32) - pixels)
    pixels += cover[:, None] * (hues[shown][:, :, None, None] - pixels)
    images = (np.clip(pixels, 0, 1, out=pixels) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)), _blur(ink, side * MAP_SIGMA)


def _enlarge(images: NDArray[Any], side: int) -> NDArray[np.float32]:
    """(..., p, p) -> (..., side, side), bilinear."""
    p = images.shape[-1]
    at = np.clip((np.arange(side) + 0.5) * p / side - 0.5, 0, p - 1)
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(p)), 0).astype(np.float32)
    return weights @ images.astype(np.float32) @ weights.T


def _put(canvas: NDArray[Any], patches: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
    """Write each patch (n, p, p) into its canvas (n, side, side), its corner at (row, column)."""
    steps = np.arange(patches.shape[1])
    image = np.arange(len(canvas))[:, None, None]
    canvas[image, (rows[:, None] + steps)[:, :, None], (columns[:, None] + steps)[:, None, :]] = patches


def _hues(n: int) -> NDArray[np.float32]:
    """(n, 3) saturated colours, evenly around the circle of hues."""
    turn = (np.arange(n)[:, None] / n + np.array([0, 1 / 3, 2 / 3])) % 1
    return np.clip(np.abs(turn * 6 - 3) - 1, 0, 1).astype(np.float32)


def _clutter(n: int, side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, 3, side, side): coloured noise, fine and coarse, over a grey of its own an image."""
    fine = rng.standard_normal((n, 3, side, side), np.float32)
    coarse = _enlarge(rng.standard_normal((n, 3, COARSE_CELLS, COARSE_CELLS), np.float32), side)
    grey = rng.standard_normal((n, 1, 1, 1), np.float32)
    return CLUTTER_MEAN + CLUTTER_STD * (fine + coarse + grey) / np.sqrt(3, dtype=np.float32)


def _blur(maps: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian over rows and columns; sigma in pixels. Rows of weights sum to 1, at the border too."""
    offsets = np.arange(maps.shape[-1])
    weights = np.exp(-((offsets[:, None] - offsets) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights @ maps @ weights.T
