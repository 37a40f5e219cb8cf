"""Augmentation policies: RandAugment and DeiT-III's 3-Augment, images grouped by the operation that they drew.

They change pixels, (n, 3, h, w) in [0, 1], and maps in place, and return the pixels. An operation takes some images
and one number for each, its argument; operations of place move an image's importance map with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from scaling.train.augment import colour
from scaling.train.batches import Draw

if TYPE_CHECKING:
    from scaling.specs.training import TrainingSpec

GREY_LEVELS = 255
MAX_LEVEL = 10.0  # timm's scale of magnitudes
N_OPERATIONS, SHARE_APPLIED, MAGNITUDE_STD = 2, 0.5, 0.5  # timm's rand-m9-mstd0.5-inc1: n, p, mstd
MAX_TURN_DEG, MAX_SHEAR, MAX_SHIFT = 30.0, 0.3, 0.45  # degrees, slope, share of the side
ENHANCE, LEAST_ENHANCED = 0.9, 0.1
SOLARISE_ADD_BELOW, MAX_SOLARISE_ADD = 128, 110

Maps = torch.Tensor | None
Colour = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Argument = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (level in [0, 1], sign) -> argument


def randaugment(
    pixels: torch.Tensor, maps: Maps, spec: TrainingSpec, fill: tuple[float, ...], draw: Draw
) -> torch.Tensor:
    """Two operations an image, drawn with replacement from timm's 15 'increasing' ones, each applied to half.

    Magnitudes are normal around randaugment_magnitude with standard deviation 0.5, cut to [0, 10]; what an operation
    of place uncovers gets the data's mean colour (maps: 0).

    Source: Cubuk et al. (2020), as timm's rand-m9-mstd0.5-inc1. Deviations: places are bilinear (bicubic there), grey
    levels are rounded only where an operation counts them, and Posterize keeps 1 bit at least (0 at magnitude 10).
    """
    random = draw.generator("policy")
    size = (draw.n_global, N_OPERATIONS)
    applied = (random.random(size) < SHARE_APPLIED)[draw.share]
    which = random.integers(len(OPERATIONS), size=size)[draw.share]
    level = random.normal(spec.randaugment_magnitude, MAGNITUDE_STD, size).clip(0, MAX_LEVEL)[draw.share] / MAX_LEVEL
    sign = np.where(random.random(size) < 0.5, -1, 1)[draw.share]
    for layer in range(N_OPERATIONS):
        chosen = np.where(applied[:, layer], which[:, layer], -1)
        apply_operations(pixels, maps, chosen, level[:, layer], sign[:, layer], fill)
    return pixels


def apply_operations(
    pixels: torch.Tensor, maps: Maps, chosen: np.ndarray, level: np.ndarray, sign: np.ndarray, fill: tuple[float, ...]
) -> None:
    """One operation an image, in place: chosen (n,) indexes OPERATIONS, -1 leaves an image."""
    names = list(OPERATIONS)
    places = {name: np.flatnonzero(chosen == index) for index, name in enumerate(names)}
    moves = np.concatenate([places[name] for name in MOVES])
    if len(moves):
        theta = np.concatenate([
            MOVES[name](OPERATIONS[name](level[places[name]], sign[places[name]])) for name in MOVES
        ])  # fmt: skip
        at = torch.from_numpy(moves).to(pixels.device)
        grid = torch.from_numpy(theta).to(pixels)
        pixels[at] = move(pixels[at], grid, fill)
        if maps is not None:
            maps[at] = move(maps[at][:, None], grid, (0.0,))[:, 0]
    for name, operation in COLOURS.items():
        if len(places[name]):
            at = torch.from_numpy(places[name]).to(pixels.device)
            argument = torch.from_numpy(OPERATIONS[name](level[places[name]], sign[places[name]])).to(pixels)
            pixels[at] = operation(pixels[at], argument)


def three_augment(
    pixels: torch.Tensor, maps: Maps, spec: TrainingSpec, fill: tuple[float, ...], draw: Draw
) -> torch.Tensor:
    """One of grey, solarised above the middle, and blurred by a sigma uniform in [0.1, 2] . side / 224 pixels.

    Source: Touvron et al. (2022), facebookresearch/deit augment.py. Deviations: the blur is a truncated Gaussian
    (Pillow approximates it by boxes) and scales with the image, so that small images keep their content.
    """
    random = draw.generator("policy")
    which = random.integers(3, size=draw.n_global)[draw.share]
    u = torch.from_numpy(random.random(draw.n_global)[draw.share]).to(pixels)
    greyed, solarised, blurred = (torch.from_numpy(np.flatnonzero(which == k)).to(pixels.device) for k in range(3))
    pixels[greyed] = colour.grey(pixels[greyed]).expand(-1, 3, -1, -1)
    pixels[solarised] = colour.solarise(pixels[solarised])
    if len(blurred):
        pixels[blurred] = colour.gaussian_blur(pixels[blurred], u[blurred])
    return pixels


POLICIES = {"randaugment": randaugment, "three_augment": three_augment}


def move(images: torch.Tensor, theta: torch.Tensor, fill: tuple[float, ...]) -> torch.Tensor:
    """Sample images at theta (x, y, 1), coordinates from -1 to 1 over the image; bilinear, `fill` outside.

    Args:
        images: (n, channels, h, w). theta: (n, 2, 3).
    """
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    inside = ((grid >= -1) & (grid < 1)).all(-1)[:, None]
    return torch.where(inside, moved, moved.new_tensor(fill).view(1, -1, 1, 1))


def _turn(degrees: np.ndarray) -> np.ndarray:
    """Counterclockwise around the centre."""
    cos, sin, zero = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), np.zeros_like(degrees)
    return _theta([cos, -sin, zero], [sin, cos, zero])


def _shear_x(slope: np.ndarray) -> np.ndarray:
    """Rows slide by slope times their distance from the upper edge."""
    one, zero = np.ones_like(slope), np.zeros_like(slope)
    return _theta([one, slope, slope], [zero, one, zero])


def _shift_x(share: np.ndarray) -> np.ndarray:
    one, zero = np.ones_like(share), np.zeros_like(share)
    return _theta([one, zero, 2 * share], [zero, one, zero])


def _transposed(move_x: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The same of columns: rows and columns change roles."""
    return lambda argument: move_x(argument)[:, ::-1][:, :, [1, 0, 2]]


def _theta(*rows: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.stack(row, -1) for row in rows], 1)


def _levels(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * GREY_LEVELS).round()


def auto_contrast(pixels: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
    """Each channel stretched to [0, 1]; one without contrast stays."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) / (high - low).clamp(min=1e-6), pixels)


def equalize(pixels: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
    return vision.equalize(_levels(pixels).to(torch.uint8)).to(pixels.dtype) / GREY_LEVELS


def invert(pixels: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
    return 1 - pixels


def posterize(pixels: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Keep the `bits` highest bits of 8."""
    step = colour.per_image(2 ** (8 - bits))
    return (_levels(pixels) / step).floor() * step / GREY_LEVELS


def solarize(pixels: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Invert grey levels from `threshold` on."""
    return colour.solarise(pixels, (colour.per_image(threshold) - 0.5) / GREY_LEVELS)


def solarize_add(pixels: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Add grey levels where there are fewer than 128."""
    brighter = (pixels + colour.per_image(levels) / GREY_LEVELS).clamp(max=1)
    return torch.where(pixels < (SOLARISE_ADD_BELOW - 0.5) / GREY_LEVELS, brighter, pixels)


def _unused(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return np.zeros_like(level)


def _signed(largest: float) -> Argument:
    return lambda level, sign: sign * level * largest


def _enhance(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return np.maximum(LEAST_ENHANCED, 1 + sign * level * ENHANCE)


# timm's 'increasing' operations in its order, and their arguments of a level in [0, 1]
OPERATIONS: dict[str, Argument] = {
    "AutoContrast": _unused,
    "Equalize": _unused,
    "Invert": _unused,
    "Rotate": _signed(MAX_TURN_DEG),
    "Posterize": lambda level, sign: np.maximum(1, 4 - np.floor(level * 4)),
    "Solarize": lambda level, sign: 256 - np.floor(level * 256),
    "SolarizeAdd": lambda level, sign: np.floor(level * MAX_SOLARISE_ADD),
    "Color": _enhance,
    "Contrast": _enhance,
    "Brightness": _enhance,
    "Sharpness": _enhance,
    "ShearX": _signed(MAX_SHEAR),
    "ShearY": _signed(MAX_SHEAR),
    "TranslateX": _signed(MAX_SHIFT),
    "TranslateY": _signed(MAX_SHIFT),
}
MOVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Rotate": _turn,
    "ShearX": _shear_x,
    "ShearY": _transposed(_shear_x),
    "TranslateX": _shift_x,
    "TranslateY": _transposed(_shift_x),
}
COLOURS: dict[str, Colour] = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": colour.saturation,
    "Contrast": colour.contrast,
    "Brightness": colour.brightness,
    "Sharpness": colour.sharpness,
}
