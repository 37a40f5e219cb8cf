"""What several workers train: the model in DistributedDataParallel, with the batch norm of all workers' images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scaling.train.batch import Setting
from scaling.train.distributed.network import Penultimate
from scaling.train.distributed.sync_norm import sync_batch_norm
from scaling.train.objectives.base import Objective


def wrap_network(model: nn.Module, objective: Objective, world: int) -> nn.Module:
    """What the objective's loss is given as `network`: the model itself on one worker.

    On several, model and objective get synchronised batch norms (`training.sync_batch_norm`), in place, and the model
    goes into DistributedDataParallel: it, or for objectives with a readout its `Penultimate`, whose output alone
    DistributedDataParallel sees. Parameters that get no gradient, such as a classifier no loss reads, are not waited
    for. Running statistics that are not synchronised are the first worker's: they are sent before each forward pass.
    The gradients of the objective's own parameters are not averaged here: `gather.average_gradients` does that.

    Call it once model and objective are on their device and the process group is initialised, on all workers alike.
    """
    if world == 1:
        return model
    setting = objective.setting
    if setting.training.sync_batch_norm:
        for module in (model, objective):
            sync_batch_norm(module, twice=setting.options.differentiates_twice)
    network: nn.Module = Penultimate(model, setting.layer) if objective.readout else model
    with without_idle(network, setting):
        return DistributedDataParallel(network)


@contextmanager
def without_idle(network: nn.Module, setting: Setting) -> Iterator[None]:
    """Within, parameters that the network's output does not depend on are frozen.

    DistributedDataParallel, built within, takes them for no business of its own; it would otherwise wait in every
    step for gradients that never come. They stay as they were in the optimizer, which passes over them too.
    """
    mode = network.training
    image = torch.zeros_like(setting.mean).expand(1, 3, setting.image_size, setting.image_size)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(network.eval()(image).sum(), trained, allow_unused=True)
    network.train(mode)
    idle = [parameter for parameter, gradient in zip(trained, gradients, strict=True) if gradient is None]
    try:
        for parameter in idle:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in idle:
            parameter.requires_grad_(True)
