"""Which architecture: a model, a family's ladder of sizes, and the ways a size can be written."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, PositiveInt, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from scaling.specs.base import Spec
from scaling.specs.wording import said

Parametrization = Literal["standard", "mup"]


class ModelSpec(Spec):
    """One architecture: `family` at width `size`.

    resnet: `size` = channels of the first stage (64 is the standard ResNet; even), `depth` in 10, 18, 34, 50, …
    vit, deit3: `size` = embedding dimension (384 is DeiT-S), `depth` = blocks, `heads` divide it.
    convnext: `size` = channels of the first stage (96 is ConvNeXt-T), `depth` = blocks: 4, 12, 14, 18, 36.
    efficientnet: `size` = width coefficient in percent (100 is B0), `depth` = blocks: 7, 16, 23, 26, …
    alexnet, cornet_s: `size` = channels of the first convolution (64 is the published network).
    timm: `size` = the model's stock parameters, `variant` = its name.

    parametrization: 'standard', or 'mup', whose best rate is the same at all widths (`scaling.models.mup`). base_size:
    of mup, the width at which both are one model, in the unit of `size`.
    variant: what the numbers leave open, for published sizes alone. asked: how the study file wrote a size that is no
    width; it is shown, and has no part in the run's id.
    """

    family: str
    size: PositiveInt
    depth: PositiveInt | None = None
    heads: PositiveInt | None = None
    variant: str | None = None
    asked: str | None = None
    parametrization: Parametrization = "standard"
    base_size: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> ModelSpec:
        if (self.parametrization == "standard") != (self.base_size is None):
            raise ValueError("base_size belongs to parametrization 'mup', which needs it")
        return self

    @property
    def family_name(self) -> str:
        """The family as results name it: another parametrization, or another base, makes one of its own."""
        return self.family if self.base_size is None else f"{self.family} {self.parametrization} {self.base_size}"

    def label(self) -> str:
        if self.family == "timm":
            return f"timm {self.variant}"
        depth = "" if self.depth is None else f"-{self.depth}"
        asked = "" if self.asked is None else f" ({self.asked})"
        rule = self.family_name.removeprefix(self.family)
        return f"{self.family}{depth} w{self.size}{asked}{rule}"

    def identity(self) -> dict[str, Any]:
        """What determines the architecture; `variant` and the parametrization only where there is one."""
        absent = {"variant": self.variant, "parametrization": self.base_size, "base_size": self.base_size}
        return self.model_dump(exclude={"asked", *(name for name, value in absent.items() if value is None)})


class AskedSize(Spec):
    """A size that is neither a width nor a name.

    width: a multiple of the family's standard width (ResNet 64, ViT 384, …), rounded to the nearest possible.
    params: a parameter count, of which the nearest that can be built at the family's depth is taken, by width; counted
    at `dataset.image_size`, with a classifier of `classes` classes or, without `classes`, before the classifier.
    """

    width: Annotated[float, Field(gt=0, le=1e4)] | None = None
    params: Annotated[float, Field(ge=1, le=1e12)] | None = None
    classes: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> AskedSize:
        if (self.width is None) == (self.params is None):
            raise ValueError("give either width or params")
        if self.params is None and self.classes is not None:
            raise ValueError("classes belongs to params")
        return self


def _as_size(value: Any) -> int | str | AskedSize:
    """A number is a width, text is a name (also '18' in quotes), a mapping asks for a multiple or a count."""
    if isinstance(value, AskedSize) or (isinstance(value, str) and value.strip()):
        return value
    if isinstance(value, dict):
        try:
            return AskedSize.model_validate(value)
        except ValidationError as error:
            details = [(".".join(map(str, detail["loc"])), said(detail)) for detail in error.errors()]
            problem = ", ".join(f"{field}: {text}".removeprefix(": ") for field, text in details)
            raise _size_error(f"{problem}; ") from error
    whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or value < 1:
        raise _size_error("")
    return int(value)


def _size_error(problem: str) -> PydanticCustomError:
    wanted = "a whole width greater than 0, a name in the family's ladder, {params: 1e6} or {width: 0.5}"
    return PydanticCustomError("model_size", "{text}", {"text": f"{problem}a size should be {wanted}"})


Size = Annotated[int | str | AskedSize, PlainValidator(_as_size)]


class FamilySpec(Spec):
    """A size ladder of one family; `training` and `resources` override the study's fields for its runs.

    sizes: each a width (16), a published size by name ('18' in quotes or resnet18, tiny, b0; a model's name for family
    timm), a multiple of the standard width ({width: 0.5}) or a parameter count ({params: 1e6}), see `AskedSize`.
    parametrization: by default the study's. base_size: of mup, the width whose rates all others have; by default the
    published network's (64 for resnet).
    """

    family: str
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    depth: PositiveInt | None = None
    heads: PositiveInt | None = None
    parametrization: Parametrization | None = None
    base_size: PositiveInt | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    resources: dict[str, Any] = Field(default_factory=dict)
