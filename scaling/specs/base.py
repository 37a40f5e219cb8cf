"""The base of all specs, and one clear message for what is wrong in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from scaling.errors import StudyError, known_names, nearest
from scaling.specs.wording import said, shown_value

SpecT = TypeVar("SpecT", bound="Spec")
MOST_EPOCHS = 100_000  # of a training; assumption: more is a slip, such as a budget in other units
EpochCount = Annotated[int, Field(gt=0, le=MOST_EPOCHS)]


class Spec(BaseModel):
    """Base of all specs: frozen, and a field that does not exist is refused, as are infinite numbers and empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    renamed: ClassVar[Mapping[str, str]] = {}  # fields that had another name: the old one and the new

    @field_validator("*", mode="before")
    @classmethod
    def _check_plain(cls, value: Any, info: ValidationInfo) -> Any:
        """True is 1 to Python, and empty text names the working directory: neither is what a study means."""
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, bool) and kinds & {int, float} and not kinds & {bool, str}:
                raise PydanticCustomError("number", "{word} is no number", {"word": str(one).lower()})
            if isinstance(one, str) and not one.strip():
                raise PydanticCustomError("empty", "the text is empty; give a value, or leave the field out")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    parts = get_args(annotation)
    return set().union(*map(_kinds, parts)) if parts else {annotation} if isinstance(annotation, type) else set()


def override(base: SpecT, changes: dict[str, Any], where: str) -> SpecT:
    """The spec with some fields replaced and all checked again; text is read as the field's type.

    Raises:
        StudyError: an unknown field, an impossible value.
    """
    return read_spec(type(base), {**base.model_dump(), **changes}, where)


def read_spec(kind: type[SpecT], content: dict[str, Any], where: str) -> SpecT:
    """A checked spec from plain data.

    Raises:
        StudyError: an unknown field, an impossible value; the message names it.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, where, kind)) from error


def explain(error: ValidationError, where: str, kind: type[Spec]) -> str:
    """One line a problem: the field, its value, the limit, where, the remedy."""
    details = error.errors(include_url=False)
    inner = [detail for detail in details if not any(_inside(other["loc"], detail["loc"]) for other in details)]
    problems: dict[tuple[Any, ...], list[Any]] = {}
    for detail in inner:
        problems.setdefault(_location(detail), []).append(detail)
    return "\n".join(_explain_one(location, found, kind, where) for location, found in problems.items())


def _inside(location: tuple[Any, ...], outer: tuple[Any, ...]) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _location(detail: Any) -> tuple[Any, ...]:
    """The field's path, without the name that pydantic appends for each branch of a number or 'all'."""
    if detail["type"] == "extra_forbidden":
        return tuple(detail["loc"])
    return tuple(part for part in detail["loc"] if isinstance(part, int) or part.isidentifier())


def _explain_one(location: tuple[Any, ...], found: list[Any], kind: type[Spec], where: str) -> str:
    """One field's problem; `found` holds one detail for every branch that its value could have been."""
    detail = found[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if detail["type"] == "extra_forbidden":
        owner = _owner(location, kind)
        if (name := str(location[-1])) in owner.renamed:
            return f"unknown field '{field}' ({where}): it is called {owner.renamed[name]} now; rename it"
        return f"unknown field '{field}' ({where}); {_known(name, owner)}"
    if detail["type"] == "missing":
        return f"field '{field}' is missing ({where}); add it"
    first, *others = dict.fromkeys(said(branch) for branch in found)  # branches may say the same
    message = " or ".join([first, *(other.removeprefix("Input should be ") for other in others)])
    place = f"{field}={shown_value(detail['input'])}: " if field and detail["type"] != "value_error" else ""
    return f"{place}{message} ({where}{', ' + field if field and not place else ''}); correct it"


def _known(name: str, owner: type[Spec]) -> str:
    """The owner's fields, the nearest first; a field that belongs one level below is named there."""
    below = {
        inner: f"{field}.{inner}"
        for field, info in owner.model_fields.items()
        if (spec := _spec_in(info.annotation))
        for inner in spec.model_fields
    }
    close = name if name in below else None if nearest(name, owner.model_fields) else nearest(name, below)
    known = known_names(name, owner.model_fields)
    return known if close is None else f"did you mean '{below[close]}'? known: {known.partition('known: ')[2]}"


def _owner(location: tuple[Any, ...], owner: type[Spec]) -> type[Spec]:
    """The spec that a field path belongs to."""
    for part in location[:-1]:
        if isinstance(part, str) and part in owner.model_fields:
            owner = _spec_in(owner.model_fields[part].annotation) or owner
    return owner


def _spec_in(annotation: Any) -> type[Spec] | None:
    """The spec that a field holds, alone or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation
    return next((found for part in get_args(annotation) if (found := _spec_in(part))), None)
