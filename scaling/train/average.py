"""The exponential moving average of a model's weights."""

from __future__ import annotations

from timm.utils import ModelEmaV3
from torch import nn


def build_average(model: nn.Module, decay: float) -> ModelEmaV3:
    """An average that begins at the model's weights: `.update(model)` after each step, `.module` is the averaged model.

    a_0 = w_0, a_k = decay . a_(k-1) + (1 - decay) . w_k. Buffers that are real numbers (batch norm's statistics) are
    averaged likewise, counters copied, as timm's ModelEma does in ConvNeXt's and DeiT's training. All of it is in
    `state_dict()`, under the model's names after 'module.'.
    """
    average = ModelEmaV3(model, decay=decay)
    average.requires_grad_(False)
    return average
