"""SimCLR: two views of an image attract, all other images of the batch repel."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from scaling.models.mup import Drawn
from scaling.train.batch import Batch
from scaling.train.distributed.gather import gather_rows, share_index
from scaling.train.distributed.network import network_features, project
from scaling.train.objectives.base import Objective
from scaling.train.objectives.views import View, make_view


class SimCLR(Objective):
    """Chen et al. (2020): both views through model and projection (d -> hidden -> output), then NT-Xent.

    Negatives are all other images of the global batch: workers gather each other's projections, with gradients, and
    each has the loss of its own images.
    """

    readout: ClassVar[bool] = True
    n_views: ClassVar[int] = 2

    def build(self, model: nn.Module) -> None:
        self.projection = self.build_head(self._projection, model, Drawn("fan_in", "fan_in"))

    def _projection(self, n_features: int) -> nn.Module:
        hidden = self.options.hidden
        return nn.Sequential(
            nn.Linear(n_features, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, self.options.output),
        )

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        view = View(area=(self.options.min_crop, 1.0), colour=self.options.colour_strength, blur=0.5)
        with torch.autocast(batch.images.device.type, enabled=False):  # images keep their digits
            views = [make_view(batch, view, index, self.setting) for index in range(self.n_views)]
        features = network_features(network, self.setting.layer, torch.cat(views))
        own = share_index(batch)
        pairs = project(self.projection, features).unflatten(0, (2, -1)).transpose(0, 1)
        everyone = gather_rows(pairs, own, batch.n_global).transpose(0, 1).flatten(0, 1)
        return nt_xent(everyone, self.options.temperature, own)


def nt_xent(projections: torch.Tensor, temperature: float, own: torch.Tensor | None = None) -> torch.Tensor:
    """Normalised temperature-scaled cross-entropy, summed over images (the mean of an image's two anchors).

    l(i) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ), s the cosine, j the other view of i's image.

    Args:
        projections: (2 n, d); rows i and i + n are views of one image.
        own: (m,) the images of 0..n-1 whose losses are summed; by default all.

    Source: Chen et al. (2020), eq. 1.
    """
    n, device = len(projections) // 2, projections.device
    images = torch.arange(n, device=device) if own is None else own
    anchors, partners = torch.cat([images, images + n]), torch.cat([images + n, images])
    with torch.autocast(device.type, enabled=False):
        unit = functional.normalize(projections, dim=1)
        similarity = (unit[anchors] @ unit.T / temperature).scatter(1, anchors[:, None], float("-inf"))
        return functional.cross_entropy(similarity, partners, reduction="sum") / 2
