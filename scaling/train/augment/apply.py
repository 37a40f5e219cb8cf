"""Training images as the model takes them: geometry, policy, colours, scaling, erasing, whole batches at a time.

Every random number is a pure function of (seed, epoch, step, position in the global batch).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from scaling.train.augment import colour
from scaling.train.augment.erasing import erase
from scaling.train.augment.policies import POLICIES
from scaling.train.augment.windows import centre_window, draw_windows, resize_on_cpu, resize_on_device
from scaling.train.batches import Draw, constant, to_input

if TYPE_CHECKING:
    from scaling.specs.training import TrainingSpec

Stored = np.ndarray | torch.Tensor

CROP_PADDING = 1 / 8  # of the image side, as He et al. 2016 pad CIFAR's 32 pixels by 4

LARGE_PX = 64  # assumption; at 28 px a call costs more than the work
CACHED_PIXELS = 2**18  # of images whose colours change together on a CPU, so that they stay in its cache


@dataclass(frozen=True)
class Look:
    """What a model takes: square images of `image_size` pixels on `device`, scaled by (x - mean) / std a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    image_size: int

    def unscaled(self, pixels: torch.Tensor) -> torch.Tensor:
        """Back to [0, 1]; `pixels` may be overwritten."""
        return pixels.mul_(self._channel(self.std)).add_(self._channel(self.mean)).clamp_(0, 1)

    def scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        """(x - mean) / std; `pixels` may be overwritten."""
        return pixels.sub_(self._channel(self.mean)).div_(self._channel(self.std))

    def _channel(self, values: tuple[float, ...]) -> torch.Tensor:
        return constant(values, self.device).view(1, 3, 1, 1)


def to_eval_input(images: np.ndarray, look: Look) -> torch.Tensor:
    """(n, H, H, 3) uint8 -> the scaled middle, (n, 3, image_size, image_size)."""
    middle = centre_window(images.shape[1], look.image_size)
    return to_input(images[:, middle, middle], look.mean, look.std, look.device)


def prepare(
    images: Stored, maps: np.ndarray | None, spec: TrainingSpec, look: Look, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Augmented images, and their importance maps moved with them.

    Geometry, then on the [0, 1] scale the policy and the colour jitter, then scaling and erasing (timm's order, but
    that DeiT-III's jitter follows its policy). Maps see the geometry, a policy's too, and nothing else.

    Args:
        images: (n, H, H, 3) uint8, H >= image_size; a copy, since memory may be shared with it; or on the device.
        maps: (n, H, H), NaN for an image without one, which becomes 0.
        draw: which images of which batch these are.

    Returns:
        (n, 3, image_size, image_size) float32 scaled images; (n, image_size, image_size) float32 maps, or None.
    """
    if maps is not None:
        maps = np.nan_to_num(maps.astype(np.float32))
    if spec.augmentation == "resized_crop":
        pixels, moved = resized_crop(images, maps, spec, look, draw)
    else:
        pixels, moved = shift(images, maps, spec, look, draw)
    if spec.policy != "none" or spec.colour_jitter > 0:
        n = len(images)
        at_once = max(1, CACHED_PIXELS // look.image_size**2) if look.device.type == "cpu" else n
        positions = np.arange(draw.n_global)[draw.share]
        for some in (slice(start, start + at_once) for start in range(0, n, at_once)):
            part = None if moved is None else moved[some]
            recolour(pixels[some], part, spec, look, replace(draw, share=positions[some]))
    return erase(pixels, spec.erasing, draw), moved


def recolour(pixels: torch.Tensor, maps: torch.Tensor | None, spec: TrainingSpec, look: Look, draw: Draw) -> None:
    """Policy and jitter of scaled images, in place; the policy's operations of place move the maps too."""
    unscaled = look.unscaled(pixels)
    if spec.policy != "none":
        unscaled = POLICIES[spec.policy](unscaled, maps, spec, look.mean, draw)
    pixels.copy_(look.scaled(jitter(unscaled, spec.colour_jitter, draw)))


def shift(
    images: Stored, maps: np.ndarray | None, spec: TrainingSpec, look: Look, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Without resizing: the middle, flipped or not; or a crop of the image padded by an eighth of image_size."""
    if spec.augmentation != "crop_flip":
        middle = centre_window(images.shape[1], look.image_size)
        images, maps = images[:, middle, middle], None if maps is None else maps[:, middle, middle]
    pixels = to_input(images, look.mean, look.std, look.device)
    if maps is None:
        return flip_and_crop(pixels, spec.augmentation, look.image_size, draw), None
    both = torch.cat([pixels, torch.from_numpy(maps).to(look.device)[:, None]], 1)
    both = flip_and_crop(both, spec.augmentation, look.image_size, draw)
    return both[:, :3].contiguous(), both[:, 3]


def flip_and_crop(images: torch.Tensor, augmentation: str, image_size: int, draw: Draw) -> torch.Tensor:
    """Flip half of the images; for 'crop_flip' also cut a window at random out of the zero-padded image.

    Args:
        images: (n, channels, H, H).
    """
    if augmentation == "none":
        return images
    flips, corners = draw_shifts(draw, augmentation, images.shape[-1], image_size)
    cut = cut_one_by_one if one_by_one(images.device, image_size) else cut_at_once
    return cut(images, flips, corners, image_size)


def draw_shifts(draw: Draw, augmentation: str, side: int, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of images of `side` pixels: which are flipped, (n,) bool; the corners (top, left) of their windows, (n, 2)."""
    random = draw.generator("windows")
    flips = draw.flips(random)
    padding = max(1, round(image_size * CROP_PADDING)) if augmentation == "crop_flip" else 0
    n_places = side + 2 * padding - image_size + 1
    return flips, random.integers(0, n_places, size=(draw.n_global, 2))[draw.share] - padding


def one_by_one(device: torch.device, image_size: int) -> bool:
    """Whether images are better moved one by one: on a CPU, where each is large beside what a call costs."""
    return device.type == "cpu" and image_size >= LARGE_PX


def cut_one_by_one(images: torch.Tensor, flips: np.ndarray, corners: np.ndarray, size: int) -> torch.Tensor:
    """Windows of `size` at corners (top, left) of the images, flipped first; 0 beyond the images."""
    side = images.shape[-1]
    found = images.new_zeros(len(images), images.shape[1], size, size)
    for image, flipped, (top, left), window in zip(images, flips, corners.tolist(), found, strict=True):
        rows, columns = (slice(max(0, start), min(side, start + size)) for start in (top, left))
        seen = (image.flip(-1) if flipped else image)[:, rows, columns]
        window[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = seen
    return found


def cut_at_once(images: torch.Tensor, flips: np.ndarray, corners: np.ndarray, size: int) -> torch.Tensor:
    """The same in a few operations on the whole batch."""
    device, side = images.device, images.shape[-1]
    images = torch.where(torch.from_numpy(flips).to(device)[:, None, None, None], images.flip(-1), images)
    before = max(0, -int(corners.min(initial=0)))
    after = max(0, int(corners.max(initial=0)) + size - side)
    padded = functional.pad(images, (before, after, before, after))
    rows, columns = (torch.from_numpy(corners[:, [axis]] + before + np.arange(size)).to(device) for axis in (0, 1))
    index = torch.arange(len(images), device=device)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resized_crop(
    images: Stored, maps: np.ndarray | None, spec: TrainingSpec, look: Look, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Windows of random area and aspect, resized (bilinear, antialiased), half of them flipped; scaled.

    Image by image in grey levels, rounded; all at once by matrix products, not rounded.
    """
    windows, flips = draw_windows(draw, images.shape[1], spec.min_crop)
    size = look.image_size
    if one_by_one(look.device, size):
        assert isinstance(images, np.ndarray)
        mean, std = np.array(look.mean), np.array(look.std)
        pixels = resize_on_cpu(images, windows, flips, size, 1 / (255 * std), -mean / std)
        if maps is None:
            return pixels, None
        return pixels, resize_on_cpu(maps[..., None], windows, flips, size, np.ones(1), np.zeros(1))[:, 0]
    pixels = resize_on_device(to_input(images, look.mean, look.std, look.device), windows, flips, size)
    if maps is None:
        return pixels, None
    moved = torch.from_numpy(maps).to(look.device)[:, None]
    return pixels, resize_on_device(moved, windows, flips, size)[:, 0]


def jitter(pixels: torch.Tensor, strength: float, draw: Draw) -> torch.Tensor:
    """Brightness, contrast and saturation by uniform factors in [1 - strength, 1 + strength], every image.

    Source: torchvision's ColorJitter. Deviation: the three changes come in this order instead of a drawn one.
    """
    return pixels if strength == 0 else jittered(pixels, torch.from_numpy(draw_jitter(draw, strength)).to(pixels))


def draw_jitter(draw: Draw, strength: float) -> np.ndarray:
    """(n, 3) factors."""
    return draw.generator("jitter").uniform(1 - strength, 1 + strength, (draw.n_global, 3))[draw.share]


def jittered(pixels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Changed by (n, 3) factors of brightness, contrast and saturation."""
    pixels = colour.brightness(pixels, factor[:, 0])
    pixels = colour.contrast(pixels, factor[:, 1])
    return colour.saturation(pixels, factor[:, 2])
