"""A freshly drawn network brought to mup: its initial values, its output layers, its attention, its ratios."""

from __future__ import annotations

import math

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.nn import functional

from scaling.models.mup import Drawn
from scaling.models.mup.ratios import ATTRIBUTE, Ratio, compare, rescale


class OutputLinear(nn.Linear):
    """y = W (x / r_in) + b: a layer whose inputs alone grow with width, r_in times as many as at the base.

    Source: Yang et al. (2021), table 8; MuReadout of microsoft/mup.
    """

    def __init__(self, linear: nn.Linear, r_in: float) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias, self.r_in = linear.weight, linear.bias, r_in
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input / self.r_in, self.weight, self.bias)


class Scaled(nn.Module):
    """x -> factor . x; without parameters, so that it has no place in a file of weights."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, queries: Tensor) -> Tensor:
        return queries * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


@torch.no_grad()
def parametrize(model: nn.Module, base: nn.Module, drawn: Drawn) -> None:
    """Bring a freshly drawn module to mup, in place; names and shapes of its parameters stay.

    Args:
        base: the same network at the base width, on the meta device. drawn: of the initialiser of both.
    """
    ratios = compare(model, base)
    for path, module in list(model.named_modules()):
        ratio = ratios.get(f"{path}.weight" if path else "weight")
        if isinstance(module, nn.Conv2d | nn.Linear) and ratio is not None:
            is_output = isinstance(module, nn.Linear) and ratio.out == 1 != ratio.into
            rescale(module, ratio, is_output, drawn)
            if isinstance(module, nn.Linear) and is_output:
                ratios[f"{path}.weight"] = Ratio(ratio.into, 1.0)
                _replace(model, path, OutputLinear(module, ratio.into))
        if isinstance(module, Attention):
            _scale_queries(module, base.get_submodule(path))
    setattr(model, ATTRIBUTE, ratios)


def _scale_queries(module: nn.Module, twin: nn.Module) -> None:
    """q . k / sqrt(d) becomes q . k . sqrt(d_0) / d."""
    if module.head_dim != twin.head_dim:
        module.q_norm = Scaled(math.sqrt(twin.head_dim / module.head_dim))  # type: ignore[arg-type, operator]


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
