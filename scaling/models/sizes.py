"""From a size as a study file writes it (a width, a name, a multiple, a parameter count) to one ModelSpec."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from scaling.errors import StudyError
from scaling.models import FAMILIES, build_model, check_family, check_model
from scaling.models.mup import MUP
from scaling.specs.model import AskedSize, FamilySpec, ModelSpec


def resolve_model(family: FamilySpec, size: int | str | AskedSize, image_size: int | None, where: str) -> ModelSpec:
    """The model that a study's family and one of its sizes mean, checked; its label says how it was asked for.

    Args:
        image_size: pixels a side of the study's images; None: as the data set has them. where: for messages.

    Raises:
        StudyError: the family or the name is unknown, the model cannot be built, or a count has no image size.
    """
    check_family(family.family, where)
    if isinstance(size, int):
        spec = ModelSpec(family=family.family, size=size, depth=family.depth, heads=family.heads)
    elif isinstance(size, str):
        spec = _named(family, size, where)
    elif size.width is not None:
        spec = _multiple(family, size.width, where)
    else:
        spec = _nearest(family, size, image_size, where)
    spec = _parametrized(spec, family, where)
    check_model(spec, image_size, where)
    return spec


def _parametrized(spec: ModelSpec, family: FamilySpec, where: str) -> ModelSpec:
    """The model in its family's parametrization; the base is by default the published width."""
    if family.parametrization != MUP:
        if family.base_size is not None:
            raise StudyError(
                f"base_size={family.base_size} belongs to parametrization: mup, and {family.family}'s is standard "
                f"({where}); set parametrization: mup, or remove base_size"
            )
        return spec
    base = family.base_size or FAMILIES[family.family].standard
    return spec.model_copy(update={"parametrization": MUP, "base_size": base})


def _named(family: FamilySpec, name: str, where: str) -> ModelSpec:
    try:
        shape = FAMILIES[family.family].shape(name)
    except StudyError as error:
        raise StudyError(f"{error} ({where}.sizes)") from error
    for field in ("depth", "heads"):
        if getattr(family, field) is not None:
            raise StudyError(
                f"{field}={getattr(family, field)} beside size '{name}', which has its own ({where}); "
                f"remove {field} or give the width, {shape.size}"
            )
    return ModelSpec(family=family.family, asked=name, **shape._asdict())


def _multiple(family: FamilySpec, multiple: float, where: str) -> ModelSpec:
    """The standard width times `multiple`, rounded to the width's step, at least one step."""
    step = _step(family, where)
    steps = max(1, round(FAMILIES[family.family].standard * multiple / step))
    asked = f"x{multiple:g}"
    return ModelSpec(family=family.family, size=steps * step, depth=family.depth, heads=family.heads, asked=asked)


def _nearest(family: FamilySpec, wanted: AskedSize, image_size: int | None, where: str) -> ModelSpec:
    """The width, at the family's depth and heads, whose parameter count is nearest to the one wanted."""
    step = _step(family, where)
    if image_size is None:
        raise StudyError(
            f"a size of {wanted.params:.4g} parameters is counted at the images' size, which is not given ({where}); "
            "set dataset.image_size"
        )
    base = ModelSpec(family=family.family, size=step, depth=family.depth, heads=family.heads)
    check_model(base, image_size, where)

    def count(steps: int) -> int:
        return count_params(base.model_copy(update={"size": steps * step}), image_size, wanted.classes)

    steps = nearest_steps(count, wanted.params or 1, max(1, FAMILIES[family.family].standard // step))
    asked = f"{wanted.params:.4g} params: {count(steps):,}"
    return base.model_copy(update={"size": steps * step, "asked": asked})


def nearest_steps(count: Callable[[int], int], wanted: float, start: int) -> int:
    """The k >= 1 whose count(k) is nearest to `wanted`, for a count that does not fall with k and is about k².

    Three steps k <- k.sqrt(wanted / count(k)) from `start`, then single steps to the first k with count(k) >= wanted.
    """
    k = start
    for _ in range(3):
        k = max(1, round(k * math.sqrt(wanted / count(k))))
    while k > 1 and count(k - 1) >= wanted:
        k -= 1
    while count(k) < wanted:
        k += 1
    return k - 1 if k > 1 and wanted - count(k - 1) <= count(k) - wanted else k


@lru_cache(maxsize=4096)
def count_params(spec: ModelSpec, image_size: int, classes: int | None) -> int:
    """Parameters with a classifier of `classes` classes, or before the classifier; on the meta device."""
    import torch

    with torch.device("meta"):
        model = build_model(spec, image_size, classes or 1)
    total = sum(p.numel() for p in model.parameters())
    if classes is None:
        total -= sum(p.numel() for p in model.get_classifier().parameters())  # type: ignore[operator]
    return total


def _step(family: FamilySpec, where: str) -> int:
    step = FAMILIES[family.family].step(family.heads)
    if step is None:
        raise StudyError(f"family '{family.family}' has no widths ({where}.sizes); give its models' names")
    return step
