"""Held-out accuracy: by the model's logits, or by a linear readout of its penultimate features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scaling.data.images import ImageData, ImageSet
from scaling.train.augment.apply import Look, to_eval_input
from scaling.train.batch import penultimate
from scaling.train.objectives.readout import Readout, fit_readout

if TYPE_CHECKING:
    from scaling.specs.resources import ResourceSpec
    from scaling.train.distributed.worker import Worker

EVALUATION_BATCH = 512  # images of all workers at once, unless micro_batch says that memory holds fewer
Classify = Callable[[torch.Tensor], torch.Tensor]


def evaluation_batch(resources: ResourceSpec) -> int:
    """Images that all workers evaluate at once; none more than a micro-batch."""
    if resources.micro_batch is None:
        return EVALUATION_BATCH
    return min(EVALUATION_BATCH, resources.micro_batch * resources.least_workers)


@torch.no_grad()
def count_correct(
    model: nn.Module,
    images: ImageSet,
    data: ImageData,
    worker: Worker,
    classify: Classify | None = None,
    batch: int = EVALUATION_BATCH,
) -> torch.Tensor:
    """How many of this worker's share of `images` are classified correctly (a float64 tensor of one number).

    By the model's highest logit, or by `classify`, which maps pixels (n, 3, h, w) to classes (n,).
    """
    model.eval()
    look = Look(data.mean, data.std, torch.device(worker.device), data.image_size)
    correct = torch.zeros((), dtype=torch.float64, device=worker.device)
    for start in range(0, len(images), batch):
        share = range(start, min(start + batch, len(images)))[worker.rank :: worker.world]
        index = list(share)
        if not index:
            continue
        pixels = to_eval_input(images.images[index], look)
        labels = torch.from_numpy(images.labels[index]).to(worker.device)
        classes = model(pixels).argmax(1) if classify is None else classify(pixels)
        correct += (classes == labels).sum()
    return correct


@torch.no_grad()
def sum_loss(
    model: nn.Module, index: np.ndarray, data: ImageData, worker: Worker, readout: PixelReadout | None
) -> torch.Tensor:
    """The loss of training images `index` without augmentation, summed over this worker's share (float64).

    -ln softmax(z)_k of the model's logits z for class k, without label smoothing; of a readout's scores s, |s - e_k|^2
    with e_k the one-hot class, which its fit minimises.
    """
    model.eval()
    look = Look(data.mean, data.std, torch.device(worker.device), data.image_size)
    total = torch.zeros((), dtype=torch.float64, device=worker.device)
    for start in range(0, len(index), EVALUATION_BATCH):
        share = index[start : start + EVALUATION_BATCH][worker.rank :: worker.world]
        if len(share):
            pixels = to_eval_input(data.train.images[share], look)
            labels = torch.from_numpy(data.train.labels[share]).to(worker.device)
            if readout is None:
                total += functional.cross_entropy(model(pixels).double(), labels, reduction="sum")
            else:
                scores = readout.scores(pixels)
                total += (scores - functional.one_hot(labels, data.n_classes)).square().sum()
    return total


@dataclass(frozen=True)
class PixelReadout:
    """A linear readout of a model's features, from pixels (n, 3, h, w)."""

    model: nn.Module
    layer: str
    readout: Readout

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, n_classes), float64."""
        return self.readout.scores(penultimate(self.model, self.layer, pixels))

    def classify(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n,) classes."""
        return self.scores(pixels).argmax(1)


@torch.no_grad()
def subset_readout(
    model: nn.Module,
    layer: str,
    data: ImageData,
    subset: np.ndarray,
    device: torch.device,
    batch: int = EVALUATION_BATCH,
) -> PixelReadout:
    """A classifier of pixels: a readout fitted to the named layer's features of the subset, without augmentation."""
    model.eval()
    look = Look(data.mean, data.std, device, data.image_size)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(subset), batch):
            chosen = subset[start : start + batch]
            pixels = to_eval_input(data.train.images[chosen], look)
            yield penultimate(model, layer, pixels), torch.from_numpy(data.train.labels[chosen]).to(device)

    return PixelReadout(model, layer, fit_readout(batches(), data.n_classes))
