"""How much wider each parameter is than the base's, and what its rate and its initial values follow from that."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from scaling.models.mup import Drawn, Law

ATTRIBUTE = "width_ratios"  # of a module that was parametrized: parameter name -> Ratio


class Ratio(NamedTuple):
    """Fan-out and fan-in of a parameter over the base's; a grouped convolution's are those of a group's channels.

    An output layer's is (r_in, 1): behind its multiplier it has the rates of an input layer.
    """

    out: float
    into: float
    groups: float = 1.0

    def rate(self, optimizer: str) -> float:
        """The factor of the learning rate: r_out / r_in for SGD, 1 / r_in for AdamW."""
        return self.out / self.into if optimizer == "sgd" else 1 / self.into

    def rescaling(self, law: Law) -> float:
        """What a drawn weight is multiplied by, so that its std is that at the base times r_in^-1/2."""
        drawn = {"fan_in": self.into, "fan_out": self.out / self.groups, "constant": 1.0}[law]
        return math.sqrt(drawn / self.into)


def compare(model: nn.Module, base: nn.Module) -> dict[str, Ratio]:
    """The Ratio of every parameter; the base may lie on the meta device.

    Raises:
        TypeError: a parameter that is no weight of a convolution or linear layer grows along two dimensions.
    """
    found = {}
    for prefix, module in model.named_modules():
        twin = base.get_submodule(prefix)
        for name, parameter in module.named_parameters(recurse=False):
            path = f"{prefix}.{name}" if prefix else name
            grown = [n / n_0 for n, n_0 in zip(parameter.shape, twin.get_parameter(name).shape, strict=True)]
            found[path] = _ratio(path, module, twin, name, grown)
    return found


def _ratio(path: str, module: nn.Module, twin: nn.Module, name: str, grown: list[float]) -> Ratio:
    if name == "weight" and isinstance(module, nn.Conv2d):
        assert isinstance(twin, nn.Conv2d)
        return Ratio(grown[0], grown[1], module.groups / twin.groups)
    if name == "weight" and isinstance(module, nn.Linear):
        return Ratio(grown[0], grown[1])
    if sum(factor != 1 for factor in grown) > 1:
        raise TypeError(f"parameter '{path}' of {type(module).__name__} grows along two dimensions: mup has no rule")
    return Ratio(math.prod(grown), 1.0)


def rescale(module: nn.Module, ratio: Ratio, is_output: bool, drawn: Drawn) -> None:
    """Bring a freshly drawn layer to its initial std; nothing is touched that has it.

    torch's own initialiser draws biases with the weights' std, which is to be that of the base at any width.
    """
    law = drawn.conv if isinstance(module, nn.Conv2d) else drawn.linear
    factor = ratio.rescaling(law) * (math.sqrt(ratio.into) if is_output else 1.0)
    factors = {"weight": factor, "bias": math.sqrt(ratio.into) if law == "fan_in" else 1.0}
    for name, parameter in module.named_parameters(recurse=False):
        if factors[name] != 1:
            parameter.data.mul_(factors[name])


def width_ratios(module: nn.Module) -> dict[str, Ratio]:
    """The ratios of all parameters of a module, by name; empty in the standard parametrization."""
    return {
        f"{prefix}.{name}" if prefix else name: ratio
        for prefix, part in module.named_modules()
        for name, ratio in getattr(part, ATTRIBUTE, {}).items()
    }
