"""Stochastic depth, put into a model that was built without it."""

from __future__ import annotations

from timm.layers import DropPath
from timm.models import _efficientnet_blocks
from torch import nn

from scaling.errors import StudyError

ATTRIBUTES = ("drop_path", "drop_path1", "drop_path2")  # timm's names for it


def set_drop_path(model: nn.Module, rate: float) -> None:
    """Drop whole residual branches, image by image, with a probability that grows linearly with depth.

    Block i of n, from 0: rate . i / (n - 1), and rate . i / n in EfficientNets and MobileNets, as timm builds them
    from `drop_path_rate` (some of its other models, such as MLP-Mixers, have one rate for all blocks there).

    Raises:
        StudyError: the model has no residual blocks that can be dropped.

    Source: Huang et al. (2016).
    """
    if rate == 0:
        return
    blocks = [module for module in model.modules() if any(hasattr(module, name) for name in ATTRIBUTES)]
    if not any(getattr(block, "has_skip", True) for block in blocks[1:]):
        raise StudyError(
            f"drop_path={rate:g} needs residual blocks that can be dropped, and this {type(model).__name__} has none "
            "(training.drop_path); set it to 0"
        )
    mobile = type(blocks[0]).__module__ == _efficientnet_blocks.__name__
    last = len(blocks) if mobile else len(blocks) - 1
    for index, block in enumerate(blocks):
        for name in ATTRIBUTES:
            if index > 0 and hasattr(block, name):
                setattr(block, name, DropPath(rate * index / last).train(block.training))
