"""Dropout and stochastic depth that draw from their run's own generator, not from torch's: runs share a process."""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn


class Draws:
    """One generator for all modules of a run's model; copies of a model share it."""

    def __init__(self, device: torch.device) -> None:
        self.generator = torch.Generator(device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Draws:
        return self

    def mask(self, shape: tuple[int, ...], like: torch.Tensor, kept: float) -> torch.Tensor:
        """1 / kept with probability `kept`, else 0; of the type of `like`."""
        noise = torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(kept, generator=self.generator)
        return noise.div_(kept)


class OwnDropout(nn.Dropout):
    """torch's Dropout; on a CPU it draws the same numbers as that, given the same seed."""

    draws: Draws

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return images
        return images * self.draws.mask(tuple(images.shape), images, 1 - self.p)


class OwnDropPath(DropPath):
    """timm's DropPath; it draws the same numbers as that, given the same seed."""

    draws: Draws

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.drop_prob:
            return images
        return images * self.draws.mask((len(images), *[1] * (images.ndim - 1)), images, 1 - self.drop_prob)


OWN: dict[type[nn.Module], type[nn.Module]] = {nn.Dropout: OwnDropout, DropPath: OwnDropPath}


def draws_randomly(module: nn.Module) -> bool:
    """Has it a rate at which something is dropped?"""
    return bool(getattr(module, "p", 0) or getattr(module, "drop_prob", 0))


def own_draws(model: nn.Module, device: torch.device) -> Draws | None:
    """Let what drops at random draw from a generator of the model's own; None where nothing is dropped.

    In place; names and state stay. `foreign` names what still draws from torch's generator.
    """
    if not any(draws_randomly(module) for module in model.modules()):
        return None
    draws = Draws(device)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) in OWN and draws_randomly(child) and getattr(child, "scale_by_keep", True):
                own = copy.copy(child)
                own.__class__ = OWN[type(child)]
                own.draws = draws  # type: ignore[assignment]
                setattr(parent, name, own)
    return draws


def foreign(model: nn.Module) -> str | None:
    """A module that draws from torch's own generator, by its name and type."""
    for name, module in model.named_modules():
        if draws_randomly(module) and not isinstance(module, OwnDropout | OwnDropPath):
            return f"{name} ({type(module).__name__})"
    return None
