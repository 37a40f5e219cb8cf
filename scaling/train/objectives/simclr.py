"""SimCLR: two views of an image attract, all other images of the batch repel."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from scaling.train.objectives.base import VIEW_STREAM, Batch, Objective, numpy_random
from scaling.train.objectives.views import View, make_view


class SimCLR(Objective):
    """Chen et al. (2020): both views through model and projection (d -> hidden -> output), then NT-Xent.

    Negatives are all other images of the global batch. One worker holds them all; more would have to gather each
    other's projections (with gradients), so more than one is refused.
    """

    readout: ClassVar[bool] = True

    def build(self, model: nn.Module) -> None:
        hidden = self.options.hidden
        self.projection = nn.Sequential(
            nn.Linear(self.n_features(model), hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, self.options.output),
        )

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        view = View(area=(self.options.min_crop, 1.0), colour=self.options.colour_strength, blur=0.5)
        views = [
            make_view(batch, view, numpy_random(self.setting.seed, VIEW_STREAM, batch.place, index), self.setting)
            for index in range(2)
        ]
        return nt_xent(self.projection(self.features(network, torch.cat(views))), self.options.temperature)


def nt_xent(projections: torch.Tensor, temperature: float) -> torch.Tensor:
    """Normalised temperature-scaled cross-entropy, summed over images (the mean of an image's two anchors).

    l(i) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ), s the cosine, j the other view of i's image.

    Args:
        projections: (2 n, d); rows i and i + n are views of one image.

    Source: Chen et al. (2020), eq. 1.
    """
    unit = functional.normalize(projections, dim=1)
    n = len(unit) // 2
    similarity = (unit @ unit.T / temperature).masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=unit.device), float("-inf")
    )
    partner = torch.arange(2 * n, device=unit.device).roll(n)
    return functional.cross_entropy(similarity, partner, reduction="sum") / 2
