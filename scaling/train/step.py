"""One optimizer step as a function of a batch and its numbers; all that it reads and changes lies on the device."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scaling.specs.run import RunSpec
from scaling.streams import torch_seed
from scaling.train.average import follow
from scaling.train.batch import Batch
from scaling.train.distributed.gather import average_gradients
from scaling.train.distributed.worker import Worker
from scaling.train.dropping import Draws, foreign
from scaling.train.numbers import Numbers
from scaling.train.objectives.base import Objective
from scaling.train.optim import decay_weights, set_rates


@dataclass
class Step:
    """What a step works on.

    run: with the training of its own data size. network: what the objective's loss is given, see `wrap`. draws: of
    what the model drops. total: float64, the summed losses of an epoch's steps, of this worker's images.
    """

    run: RunSpec
    worker: Worker
    model: nn.Module
    network: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: ModelEmaV3 | None
    draws: Draws | None
    total: torch.Tensor

    def __post_init__(self) -> None:
        self.trained = [p for module in (self.model, self.objective) for p in module.parameters() if p.requires_grad]
        self.foreign = foreign(self.model)
        spec = self.run.training
        changes = spec.optimizer == "adamw" and spec.weight_decay_end is not None
        self.decays_apart = changes and self.total.is_cuda

    def seed(self, place: tuple[int, int]) -> None:
        """Dropout and stochastic depth as a function of (epoch, step), so that nothing of them has to be saved."""
        if self.draws is None and self.foreign is None:
            return
        seed = torch_seed("model", self.run.seed, *place, self.worker.rank)
        if self.draws is not None:
            self.draws.generator.manual_seed(seed)
        if self.foreign is not None:
            torch.manual_seed(seed)

    def __call__(self, batch: Batch, numbers: Numbers, number: int | None) -> torch.Tensor:
        """One step on this worker's share, in micro-batches where they are asked for; its summed loss, also in `total`.

        Gradients are averaged over workers, so the local sum is scaled by world / n_global: the step then equals
        that of one process with the whole batch, also where the shares differ by an image.

        Args:
            number: of the step in the training, where the objective decides on the host.
        """
        decay = numbers.weight_decay
        apart = self.decays_apart or isinstance(decay, torch.Tensor)
        set_rates(self.optimizer, numbers.lr, 0.0 if apart else float(decay))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(self.objective.with_noise(batch))
        average_gradients(self.objective.parameters())
        if self.run.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained, self.run.training.clip_norm)
        if apart:
            decay_weights(self.optimizer, numbers.lr, decay)
        self.optimizer.step()
        if number is not None:
            self.objective.after_step(self.model, number)
        if self.average is not None:
            follow(self.average, self.model, numbers.average)
        self.total += loss
        return loss

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Gradients of the share's loss, exchanged between workers with the last micro-batch; the summed loss."""
        micro, world = self.run.resources.micro_batch, self.worker.world
        largest = math.ceil(batch.n_global / world)  # alike in all workers, whose shares may differ by one
        parts = batch.parts(1 if micro is None else math.ceil(largest / micro))
        half = self.run.training.precision == "bfloat16"
        total = torch.zeros((), device=self.total.device)
        for number, part in enumerate(parts, start=1):
            waits = number < len(parts) and isinstance(self.network, DistributedDataParallel)
            with self.network.no_sync() if waits else nullcontext():  # type: ignore[operator]
                # Without its cache, which all threads share: a weight is cast once a pass, whatever others do
                with torch.autocast(self.total.device.type, torch.bfloat16, half, False):
                    loss = self.objective.loss(self.network, part)
                (loss * (world / batch.n_global)).backward()
            total += loss.detach()
        return total
