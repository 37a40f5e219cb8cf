"""The model that can be built nearest to a wanted number of parameters, among those like a study's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.data.portions import ImageCounts
from scaling.errors import StudyError
from scaling.models import FAMILIES, check_model
from scaling.models.cost import model_cost
from scaling.models.sizes import count_params, nearest_steps
from scaling.specs.model import ModelSpec


@dataclass(frozen=True)
class Sized:
    """model: to be built; like: the study's model whose depth, heads and training it has; how: it was chosen."""

    model: ModelSpec
    like: ModelSpec
    n_params: int
    flops_per_image: float
    how: str


def model_near(models: Sequence[ModelSpec], n_params: float, counts: ImageCounts) -> Sized:
    """The model with about `n_params` parameters.

    Depth and heads are those of the study's model of nearest size (on a logarithmic scale); its width is then the one,
    in the family's steps, whose parameters are nearest. A family without widths (timm) gives the study's nearest model.

    Args:
        models: of one family, as the study trains them.
    """
    by_size = {model: count_params(model, counts.image_size, counts.n_classes) for model in dict.fromkeys(models)}
    plain = [model for model in by_size if model.variant is None] or list(by_size)
    like = min(plain, key=lambda model: abs(math.log(by_size[model] / n_params)))
    step = FAMILIES[like.family].step(like.heads)
    if step is None or like.variant is not None:
        return _sized(like, like, n_params, counts, "the nearest of the study's sizes: others cannot be built of it")

    def count(steps: int) -> int:
        return count_params(_widened(like, steps * step), counts.image_size, counts.n_classes)

    width = step * nearest_steps(count, n_params, max(1, like.size // step))
    own = next((model for model in plain if model.identity() == _widened(like, width).identity()), None)
    if own is not None:
        return _sized(own, own, n_params, counts, "a size of the study")
    model = _widened(like, width)
    check_model(model, counts.image_size, "verification")
    return _sized(model, like, n_params, counts, f"{_beside(plain, like, width)}, in steps of {step}")


def _widened(like: ModelSpec, width: int) -> ModelSpec:
    return like.model_copy(update={"size": width, "asked": None})


def _beside(models: Sequence[ModelSpec], like: ModelSpec, width: int) -> str:
    """Where a width lies among the study's of that depth."""
    widths = sorted(m.size for m in models if (m.depth, m.heads) == (like.depth, like.heads))
    if width < widths[0]:
        return f"a width below the study's least, {widths[0]}"
    if width > widths[-1]:
        return f"a width beyond the study's largest, {widths[-1]}"
    below, above = max(w for w in widths if w < width), min(w for w in widths if w > width)
    return f"a width between the study's {below} and {above}"


def _sized(model: ModelSpec, like: ModelSpec, wanted: float, counts: ImageCounts, how: str) -> Sized:
    n_params, flops = model_cost(model, counts.image_size, counts.n_classes)
    if not flops > 0:
        raise StudyError(f"{model.label()} has no FLOPs to count, so that no budget can be split for it")
    return Sized(model, like, n_params, flops, f"{how}; N is {n_params / wanted:.2g} times what was wanted")
