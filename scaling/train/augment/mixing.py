"""Mixup and CutMix: each image of a batch is mixed with a partner, and so are their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scaling.streams import stream

if TYPE_CHECKING:
    from scaling.specs.training import TrainingSpec

SWITCH_TO_CUTMIX = 0.5  # timm's switch_prob: where both are on


@dataclass(frozen=True)
class Mixing:
    """How one global batch is mixed.

    partner: (n_global,) position of each image's partner. weight: lambda, the share of the image itself. box: top,
    bottom, left, right of what CutMix takes from the partner; None is mixup.
    """

    partner: np.ndarray
    weight: float
    box: tuple[int, int, int, int] | None = None


def draw_mixing(spec: TrainingSpec, seed: int, place: tuple[int, int], n_global: int, image_size: int) -> Mixing | None:
    """One mixing for a whole batch, or None where neither mixup nor cutmix is on.

    lambda ~ Beta(alpha, alpha). A CutMix box has sqrt(1 - lambda) of each side around a uniform centre; what lies
    outside is cut off, and lambda becomes the area that is left to the image.

    Source: Zhang et al. (2018), Yun et al. (2019), as timm's Mixup in mode 'batch'. Deviation: partners are a
    permutation of the global batch (Zhang et al.), where timm reverses each worker's own, which bound results to the
    number of workers.
    """
    if not spec.mixup and not spec.cutmix:
        return None
    random = stream("mixing", seed, *place)
    partner = random.permutation(n_global)
    cut = bool(spec.cutmix) and (not spec.mixup or random.random() < SWITCH_TO_CUTMIX)
    alpha = spec.cutmix if cut else spec.mixup
    weight = float(random.beta(alpha, alpha))
    if not cut:
        return Mixing(partner, weight)
    y, x = (int(number) for number in random.integers(0, image_size, size=2))
    top, bottom, left, right = box = cut_box(weight, y, x, image_size)
    return Mixing(partner, 1 - (bottom - top) * (right - left) / image_size**2, box)


def cut_box(weight: float, y: int, x: int, image_size: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box of (1 - weight) of the area around (y, x), cut off at the image's edges."""
    side = int(image_size * np.sqrt(1 - weight))
    before, after = side // 2, (side + 1) // 2
    top, left = max(0, y - before), max(0, x - before)
    return top, min(image_size, y + after), left, min(image_size, x + after)


def apply_mixing(
    mixing: Mixing,
    pixels: torch.Tensor,
    partner_pixels: torch.Tensor,
    targets: torch.Tensor,
    partner_targets: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixed images, (n, 3, h, w), and targets, (n, n_classes): lambda . own + (1 - lambda) . partner's."""
    mixed = partner_targets.lerp(targets, mixing.weight)
    if mixing.box is None:
        return partner_pixels.lerp(pixels, mixing.weight), mixed
    top, bottom, left, right = mixing.box
    cut = pixels.clone()
    cut[:, :, top:bottom, left:right] = partner_pixels[:, :, top:bottom, left:right]
    return cut, mixed


def draw_columns(mixing: Mixing) -> dict[str, Any]:
    """A mixing as numbers of one shape, whichever of the two it is: what `mix` reads."""
    box = (0, 0, 0, 0) if mixing.box is None else mixing.box
    return {"partner": mixing.partner, "weight": mixing.weight, "cuts": mixing.box is not None, "box": box}


def mix(draws: Mapping[str, torch.Tensor], pixels: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """As `apply_mixing` with the batch's own partners, by tensors: partner (n,), weight, cuts, box (4,)."""
    partner, weight = draws["partner"], draws["weight"].to(pixels.dtype)
    mixed = targets[partner].lerp(targets, weight)
    others, (top, bottom, left, right) = pixels[partner], draws["box"].unbind()
    row, column = (torch.arange(side, device=pixels.device) for side in pixels.shape[2:])
    box = ((row >= top) & (row < bottom))[:, None] & ((column >= left) & (column < right))
    cut = torch.where(box, others, pixels)
    return torch.where(draws["cuts"], cut, others.lerp(pixels, weight)), mixed
