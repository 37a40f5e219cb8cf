"""What a size is made of, and how a family's named sizes are looked up. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scaling.errors import StudyError, known_names

if TYPE_CHECKING:
    from scaling.specs.model import ModelSpec

SMALL_IMAGE = 64  # pixels; up to here convolutional stems lose the strides that the published ones have for 224
STANDARD = "standard"  # the one published size of a family without named ones; the family's own name says it too


class Checked(Protocol):
    """What can say why a model cannot be built: a family."""

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None: ...


class Shape(NamedTuple):
    """The numbers of a ModelSpec; None is the family's default. variant: what they leave open (ViT-H's patch)."""

    size: int
    depth: int | None = None
    heads: int | None = None
    variant: str | None = None


def named_shape(family: str, names: Mapping[str, Shape], name: str) -> Shape:
    """The published size called `name`, with or without the family's own name: '18' and 'resnet18', 'b0'.

    Raises:
        StudyError: the family has no such size.
    """
    short = name.lower().removeprefix(family).strip("_- ") or STANDARD
    if short not in names:
        widths = "a number is a width, {params: 1e6} a count, {width: 0.5} a multiple"
        raise StudyError(f"{family} has no size '{name}'; {known_names(short, names)} ({widths})")
    return names[short]


def without_meaning(spec: ModelSpec, *fields: str) -> str | None:
    """Why a field that this family does not have cannot be set."""
    for field in fields:
        value = getattr(spec, field)
        if value is not None:
            return f"{field}={value} has no meaning for a {spec.family}; remove it"
    return None


def impossible_depth(spec: ModelSpec, known: Mapping[int, object]) -> str | None:
    """Why a depth outside the family's table cannot be built."""
    if spec.depth is None or spec.depth in known:
        return None
    return f"depth={spec.depth} is no {spec.family} depth; known: {', '.join(map(str, known))}"
