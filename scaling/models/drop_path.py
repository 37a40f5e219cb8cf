"""Stochastic depth, put into a model that was built without it."""

from __future__ import annotations

from timm.layers import DropPath
from timm.models import EfficientNet
from torch import nn

from scaling.errors import StudyError

ATTRIBUTES = ("drop_path", "drop_path1", "drop_path2")  # timm's names for it


def set_drop_path(model: nn.Module, rate: float) -> None:
    """Drop whole residual branches, image by image, with a probability that grows linearly with depth.

    Block i of n, from 0: rate . i / (n - 1), and rate . i / n in EfficientNets, as timm builds them from
    `drop_path_rate`.

    Raises:
        StudyError: the model has no residual blocks that can be dropped.

    Source: Huang et al. (2016).
    """
    if rate == 0:
        return
    blocks = [module for module in model.modules() if any(hasattr(module, name) for name in ATTRIBUTES)]
    if not blocks:
        raise StudyError(
            f"drop_path={rate:g} needs residual blocks that can be dropped, and {type(model).__name__} has none "
            "(training.drop_path); set it to 0"
        )
    last = len(blocks) if isinstance(model, EfficientNet) else max(1, len(blocks) - 1)
    for index, block in enumerate(blocks):
        for name in ATTRIBUTES:
            if index > 0 and hasattr(block, name):
                setattr(block, name, DropPath(rate * index / last))
