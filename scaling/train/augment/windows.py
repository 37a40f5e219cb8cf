"""Random resized crops: windows drawn for a whole batch, cut out of uint8 images and resized with antialiasing."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional

from scaling.train.batches import Draw

LOG_ASPECTS = (math.log(3 / 4), math.log(4 / 3))
ATTEMPTS = 10  # as torchvision's RandomResizedCrop, before it falls back to the whole (square) image


def draw_windows(draw: Draw, side: int, min_area: float) -> tuple[np.ndarray, np.ndarray]:
    """Windows of squares of `side` pixels: (n, 4) top, left, height, width; and which are flipped, (n,) bool.

    Area uniform in [min_area, 1] of the image, aspect (width / height) log-uniform in [3/4, 4/3]; of 10 attempts the
    first that fits the image, else all of it.

    Source: Szegedy et al. (2015), as torchvision's RandomResizedCrop and timm's. Deviation: the place is the floor of
    a uniform number, whatever the attempt, so that a window depends on its image's own numbers alone.
    """
    random = draw.generator("windows")
    flips = draw.flips(random)
    area = side**2 * random.uniform(min_area, 1, (draw.n_global, ATTEMPTS))[draw.share]
    aspect = np.exp(random.uniform(*LOG_ASPECTS, (draw.n_global, ATTEMPTS))[draw.share])
    place = random.random((draw.n_global, 2))[draw.share]
    sizes = np.rint(np.sqrt(np.stack([area / aspect, area * aspect], -1))).astype(int).clip(min=1)
    chosen = first_fitting(sizes, np.all(sizes <= side, axis=-1), side)
    return np.concatenate([np.floor(place * (side - chosen + 1)).astype(int), chosen], 1), flips


def first_fitting(sizes: np.ndarray, fits: np.ndarray, otherwise: int) -> np.ndarray:
    """(n, attempts, 2) sizes, (n, attempts) bool -> (n, 2): the first that fits, or `otherwise` for both sides."""
    first = np.take_along_axis(sizes, fits.argmax(1)[:, None, None], 1)[:, 0]
    return np.where(np.any(fits, axis=1)[:, None], first, otherwise)


def resize_on_cpu(
    images: np.ndarray, windows: np.ndarray, flips: np.ndarray, size: int, scale: np.ndarray, offset: np.ndarray
) -> torch.Tensor:
    """Windows resized by torch (bilinear, antialiased), then scale . pixel + offset a channel.

    uint8 is resized in uint8, within a grey level of Pillow; each image is scaled while it is in the cache.

    Args:
        images: (n, H, H, C) uint8 or float32. scale, offset: (C,).

    Returns:
        (n, C, size, size) float32.
    """
    resized = np.empty((len(images), len(scale), size, size), np.float32)

    def one(index: int) -> None:
        top, left, height, width = windows[index]
        window = np.ascontiguousarray(images[index, top : top + height, left : left + width])
        pixels = torch.from_numpy(window)[None].permute(0, 3, 1, 2)  # channels last, which torch resizes fastest
        pixels = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        planes = (pixels.flip(-1) if flips[index] else pixels)[0].numpy()
        for plane, found, factor, shift in zip(planes, resized[index], scale, offset, strict=True):
            found[:] = plane
            found *= factor
            found += shift

    _for_each(one, len(images))
    return torch.from_numpy(resized)


def _for_each(one: Callable[[int], None], n: int) -> None:
    """On as many threads as torch has: torch and NumPy let go of the interpreter while they compute."""
    threads = min(torch.get_num_threads(), n)

    def some(start: int) -> None:
        for index in range(start, n, threads):
            one(index)

    if threads <= 1:
        some(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(threads)))


def resize_on_device(pixels: torch.Tensor, windows: np.ndarray, flips: np.ndarray, size: int) -> torch.Tensor:
    """The same resizing as `resize_on_cpu`, not rounded; see `resize_windows`.

    Args:
        pixels: (n, C, H, H) float.
    """
    places, flipped = (torch.from_numpy(drawn).to(pixels.device) for drawn in (windows, flips))
    return resize_windows(pixels, places, flipped, size)


def resize_windows(pixels: torch.Tensor, windows: torch.Tensor, flips: torch.Tensor, size: int) -> torch.Tensor:
    """Windows resized by two products with (n, size, H) matrices, for devices where those cost nothing.

    Args:
        pixels: (n, C, H, H) float. windows: (n, 4) top, left, height, width. flips: (n,) bool.
    """
    rows = resize_weights(windows[:, 0], windows[:, 2], pixels.shape[-1], size)
    columns = resize_weights(windows[:, 1], windows[:, 3], pixels.shape[-1], size)
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    return rows.to(pixels.dtype)[:, None] @ pixels @ columns.to(pixels.dtype)[:, None].transpose(2, 3)


def resize_weights(start: torch.Tensor, length: torch.Tensor, side: int, size: int) -> torch.Tensor:
    """(n, size, side) weights, float32, of `side` pixels in each of `size` resized ones; rows sum to 1.

    A triangle of half width max(1, s) pixels, s = length / size, around start + (i + 1/2) s, cut off at the window.
    """
    begin, step = start.double()[:, None, None], (length.double() / size)[:, None, None]
    centre = begin + (torch.arange(size, dtype=torch.float64, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(side, dtype=torch.float64, device=start.device) + 0.5
    weights = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    inside = (pixel > begin) & (pixel < begin + length[:, None, None])
    weights = torch.where(inside, weights, 0)
    return (weights / weights.sum(-1, keepdim=True)).float()


def centre_window(side: int, size: int) -> slice:
    """The middle `size` of `side` pixels, as torchvision's CenterCrop takes it."""
    start = round((side - size) / 2)
    return slice(start, start + size)
