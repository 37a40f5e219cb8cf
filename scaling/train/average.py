"""The exponential moving average of a model's weights."""

from __future__ import annotations

import torch
from timm.utils import ModelEmaV3
from torch import nn


def build_average(model: nn.Module) -> ModelEmaV3:
    """An average that begins at the model's weights: `follow` after each step, `.module` is the averaged model."""
    average = ModelEmaV3(model)
    average.requires_grad_(False)
    return average


def follow(average: ModelEmaV3, model: nn.Module, decay: float | torch.Tensor) -> None:
    """One step of the average: a_0 = w_0, a_k = d_k . a_(k-1) + (1 - d_k) . w_k.

    Buffers that are real numbers (batch norm's statistics) are averaged likewise, counters copied, as timm's ModelEma
    does in ConvNeXt's and DeiT's training. All of it is in `state_dict()`, under the model's names after 'module.';
    the decay is a function of the step, see `horizon.average_decay`, so that nothing else has to be saved.

    Args:
        decay: a tensor of no dimension where a captured step reads it from the device.
    """
    if torch.is_tensor(decay):
        _follow_tensor(average, model, 1 - decay)
    else:
        average.decay = decay
        average.update(model)


@torch.no_grad()
def _follow_tensor(average: ModelEmaV3, model: nn.Module, weight: torch.Tensor) -> None:
    for mean, now in zip(average.module.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, weight.to(mean.dtype))
        else:
            mean.copy_(now)
