"""A worker's share of a batch, what an objective is built for, and what both need of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scaling.specs.training import TrainingSpec


@dataclass(frozen=True)
class Setting:
    """What an objective is built for.

    options: its own spec. layer: the penultimate one. mean, std: (1, 3, 1, 1), by which images were scaled.
    n_base_features: of that layer at the base width of the parametrization mup, where the model has another.
    """

    options: Any
    training: TrainingSpec
    seed: int
    layer: str
    image_size: int
    steps_per_epoch: int
    mean: torch.Tensor
    std: torch.Tensor
    n_base_features: int | None = None

    @property
    def total_steps(self) -> int:
        return self.training.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Batch:
    """One worker's share of a global batch.

    images: (n, 3, h, w) scaled and augmented as `training.augmentation` says. labels: (n,). place: (epoch, step), or
    None where the device alone knows it: in a captured step. share: which of the n_global images these are.
    maps: (n, h, w) augmented with their images, 0 where an image has none; has_map: (n,) bool; both None in a data set
    without maps. targets: (n, classes) of mixed images, else None. noise: what the objective's `with_noise` drew.
    views: (n, views, 14) the random numbers of `objectives.views`, where they do not follow from the place.
    """

    images: torch.Tensor
    labels: torch.Tensor
    place: tuple[int, int] | None
    share: slice | np.ndarray
    n_global: int
    maps: torch.Tensor | None = None
    has_map: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    views: torch.Tensor | None = None

    def parts(self, n: int) -> list[Batch]:
        """The share in n micro-batches, whose sizes differ by at most one image."""
        if n == 1:
            return [self]
        places = np.arange(self.n_global)[self.share]
        return [self._part(index, places[index]) for index in np.array_split(np.arange(len(places)), n)]

    def _part(self, index: np.ndarray, places: np.ndarray) -> Batch:
        where = slice(int(index[0]), int(index[-1]) + 1)
        cut: dict[str, Any] = {name: tensor[where] for name, tensor in self.tensors().items()}
        return replace(self, share=places, **cut)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What of it lies on the device, one row an image."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}


def penultimate(model: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """(n, d) activations of the named layer, flattened; gradients flow through them."""
    found: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, given, output: found.append(output))
    try:
        model(images)
    finally:
        handle.remove()
    return found[0].flatten(1)


def plain(network: nn.Module) -> nn.Module:
    """The model itself: what it computes outside the step's own backward pass is not to be averaged over workers."""
    return network.module if isinstance(network, DistributedDataParallel) else network
