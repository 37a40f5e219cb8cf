"""The plain objective."""

from __future__ import annotations

import torch
from torch import nn

from scaling.train.batch import Batch
from scaling.train.objectives.base import Objective


class Supervised(Objective):
    """Cross-entropy with label smoothing: sum over images of -sum_k q_k log softmax(z)_k."""

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        return self.classification_loss(network(batch.images), batch)
