"""What a loss sees of a model, alone or in DistributedDataParallel."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scaling.train.batch import penultimate


class Penultimate(nn.Module):
    """A model whose output is its penultimate layer's, (n, d): what a self-supervised loss is of."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        self.model, self.layer = model, layer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return penultimate(self.model, self.layer, images)


def network_features(network: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """(n, d) penultimate activations of the model, or of what `wrap_network` made of it for several workers."""
    return network(images) if isinstance(network, DistributedDataParallel) else penultimate(network, layer, images)


def project(head: nn.Module, features: torch.Tensor, **options: bool) -> torch.Tensor:
    """head(features) in float32 or better, also within autocast: cosines over a small temperature need the digits."""
    with torch.autocast(features.device.type, enabled=False):
        return head(features.to(torch.promote_types(features.dtype, torch.float32)), **options)
