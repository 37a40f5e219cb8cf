"""Augmentation of images that lie on the device, by numbers that lie there too: no copy, no decision on the host.

The same pixels as `apply.prepare` gives for the same draws, bit for bit, on one device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scaling.train.augment.apply import Look, draw_jitter, draw_shifts, jittered
from scaling.train.augment.mixing import draw_columns, draw_mixing
from scaling.train.augment.windows import centre_window, draw_windows, resize_windows
from scaling.train.batches import Draw, scale_pixels
from scaling.train.tables import Column

if TYPE_CHECKING:
    from scaling.specs.training import TrainingSpec

BY_IMAGE = frozenset({"index", "flips", "corners", "windows", "jitter", "partner"})  # of the others, one a batch


def cannot_store(spec: TrainingSpec) -> str | None:
    """What of an augmentation is made on the host, image by image or by groups of images."""
    if spec.policy != "none":
        return f"policy {spec.policy} groups images on the host"
    return "erasing draws patches of any size" if spec.erasing else None


def stored_window(spec: TrainingSpec, side: int, image_size: int) -> slice:
    """The rows and columns of `side` pixels that an augmentation may show."""
    whole = spec.augmentation in ("crop_flip", "resized_crop")
    return slice(0, side) if whole else centre_window(side, image_size)


def draw_columns_of(spec: TrainingSpec, n: int) -> dict[str, Column]:
    """The draws of a batch of at most n images."""
    numbers, flags = torch.int64, torch.bool
    columns = {}
    if spec.augmentation != "none":
        columns["flips"] = Column((n,), flags)
        columns |= {"windows": Column((n, 4), numbers)} if spec.augmentation == "resized_crop" else {
            "corners": Column((n, 2), numbers)
        }  # fmt: skip
    if spec.colour_jitter:
        columns["jitter"] = Column((n, 3), torch.float32)
    if spec.mixup or spec.cutmix:
        columns |= {"partner": Column((n,), numbers), "weight": Column((), torch.float64)}
        columns |= {"cuts": Column((), flags), "box": Column((4,), numbers)}
    return columns


def draw_all(spec: TrainingSpec, side: int, image_size: int, draw: Draw) -> dict[str, Any]:
    """The draws of one batch, by the names of `draw_columns_of`.

    Args:
        side: of the stored images.
    """
    found: dict[str, Any] = {}
    if spec.augmentation == "resized_crop":
        found["windows"], found["flips"] = draw_windows(draw, side, spec.min_crop)
    elif spec.augmentation != "none":
        found["flips"], found["corners"] = draw_shifts(draw, spec.augmentation, side, image_size)
    if spec.colour_jitter:
        found["jitter"] = draw_jitter(draw, spec.colour_jitter).astype(np.float32)
    mixing = draw_mixing(spec, draw.seed, draw.place, draw.n_global, image_size)
    return found if mixing is None else found | draw_columns(mixing)


def augmented(
    images: torch.Tensor, index: torch.Tensor, draws: Mapping[str, torch.Tensor], spec: TrainingSpec, look: Look
) -> torch.Tensor:
    """The scaled, augmented images of one batch, before they are mixed: (n, 3, image_size, image_size).

    Args:
        images: (N, H, H, 3) uint8. index: (n,) which of them.
    """
    if spec.augmentation == "resized_crop":
        whole = scale_pixels(images.index_select(0, index), look.mean, look.std)
        pixels = resize_windows(whole, draws["windows"], draws["flips"], look.image_size)
    elif spec.augmentation == "none":
        pixels = scale_pixels(images.index_select(0, index), look.mean, look.std)
    else:
        pixels = cut_stored(images, index, draws["corners"], draws["flips"], look)
    if not spec.colour_jitter:
        return pixels
    return look.scaled(jittered(look.unscaled(pixels), draws["jitter"]))


def cut_stored(
    images: torch.Tensor, index: torch.Tensor, corners: torch.Tensor, flips: torch.Tensor, look: Look
) -> torch.Tensor:
    """Windows at corners (top, left) of the images, flipped first; 0 beyond the images. As `apply.cut_at_once`."""
    side, ahead = images.shape[1], torch.arange(look.image_size, device=images.device)
    rows, columns = (corners[:, axis, None] + ahead for axis in (0, 1))
    columns = torch.where(flips[:, None], side - 1 - columns, columns)
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    rows, columns = rows.clamp(0, side - 1), columns.clamp(0, side - 1)
    found = images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    return torch.where(inside[:, None], scale_pixels(found, look.mean, look.std), 0)
