"""What is measured of a run's model after an epoch, by all of its workers together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn

from scaling.data.images import ImageData
from scaling.train.evaluate import PixelReadout, count_correct, evaluation_batch, subset_readout, sum_loss
from scaling.train.step import Step


@dataclass(frozen=True)
class Measure:
    """Of the run of `step` on the training images `subset`; `validation`: of a probe, the images held out of them."""

    step: Step
    data: ImageData
    subset: np.ndarray
    validation: np.ndarray

    def evaluated(self) -> nn.Module:
        """The model that is measured and kept: the average's where there is one, else the objective's choice."""
        if self.step.average is None:
            return self.step.objective.evaluated(self.step.model)
        return self.step.average.module

    def accuracy(self) -> float:
        """On all held-out images."""
        self._share_buffers()
        batch, readout = evaluation_batch(self.step.run.resources), self._readout()
        classify = None if readout is None else readout.classify
        correct = count_correct(self.evaluated(), self.data.heldout, self.data, self.step.worker, classify, batch)
        return self._over_workers(correct) / len(self.data.heldout)

    def validation_loss(self) -> float:
        """Mean over the validation images: cross-entropy, or the squared error of a readout; see `sum_loss`."""
        self._share_buffers()
        total = sum_loss(self.evaluated(), self.validation, self.data, self.step.worker, self._readout())
        return self._over_workers(total) / len(self.validation)

    def _over_workers(self, total: torch.Tensor) -> float:
        if self.step.worker.world > 1:
            distributed.all_reduce(total)
        return float(total)

    def _share_buffers(self) -> None:
        """Every worker measures with the first one's buffers."""
        if self.step.worker.world > 1:
            for buffer in self.evaluated().buffers():
                distributed.broadcast(buffer, 0)

    def _readout(self) -> PixelReadout | None:
        """Of an objective that trains no classifier."""
        objective, resources = self.step.objective, self.step.run.resources
        if not objective.readout:
            return None
        batch = evaluation_batch(resources)
        alone = min(batch, resources.micro_batch or batch)  # every worker reads the whole subset
        device = torch.device(self.step.worker.device)
        return subset_readout(self.evaluated(), objective.setting.layer, self.data, self.subset, device, alone)
