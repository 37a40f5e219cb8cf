"""Which epochs' weights are kept and scored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from scaling.errors import known_names
from scaling.specs.base import EpochCount, Spec
from scaling.specs.wording import said

PUBLISHED = (*range(1, 11), *range(15, 101, 5), 150, 200, 250, 300)  # Gokce & Schrimpf 2025
NAMED = ("last", "published")
WANTED = "an epoch greater than or equal to 0, 'last', 'published', {every: 5} or {geometric: 1.5}"


class EverySpec(Spec):
    """Epochs start, start + every, start + 2 every, … up to `stop`; by default from `every` to the run's last."""

    every: PositiveInt
    start: NonNegativeInt | None = None
    stop: EpochCount | None = None

    @model_validator(mode="after")
    def _check(self) -> EverySpec:
        if self.stop is not None and self.stop < self.first:
            raise ValueError(f"stop={self.stop} lies before the first epoch, {self.first}; raise it, or lower start")
        return self

    @property
    def first(self) -> int:
        return self.every if self.start is None else self.start

    def epochs(self, last: int) -> list[int]:
        return list(range(self.first, (self.stop or last) + 1, self.every))


class GeometricSpec(Spec):
    """Epochs r^0, r^1, r^2, … rounded, each once, up to the run's last; r = `geometric`."""

    geometric: Annotated[float, Field(ge=1.01, allow_inf_nan=False)]

    def epochs(self, last: int) -> list[int]:
        found, power = set[int](), 0
        while (epoch := round(self.geometric**power)) <= last:
            found.add(epoch)
            power += 1
        return sorted(found)


def _as_epoch(value: Any) -> int | str | EverySpec | GeometricSpec:
    """A number is an epoch, text one of NAMED, a mapping a schedule."""
    if isinstance(value, EverySpec | GeometricSpec) or value in NAMED:
        return value
    if isinstance(value, dict):
        return _as_schedule(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _epoch_error(f"should be {WANTED}")
    return value


def _as_schedule(value: dict[Any, Any]) -> EverySpec | GeometricSpec:
    kind: type[EverySpec | GeometricSpec] = GeometricSpec if "geometric" in value else EverySpec
    unknown = next((str(key) for key in value if key not in kind.model_fields), None)
    if unknown is not None:
        known = {*EverySpec.model_fields, *GeometricSpec.model_fields} if kind is EverySpec else {"geometric"}
        raise _epoch_error(f"unknown field '{unknown}'; {known_names(unknown, known)}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {said(detail)}" for detail in error.errors()]
        text = ", ".join(problem.removeprefix(": ") for problem in problems)
        raise _epoch_error(text) from error


def _epoch_error(text: str) -> PydanticCustomError:
    return PydanticCustomError("epoch", "{text}", {"text": text})


def _plain(entry: int | str | EverySpec | GeometricSpec) -> Any:
    """As a study file writes it."""
    return entry.model_dump(exclude_none=True) if isinstance(entry, Spec) else entry


Epoch = Annotated[int | str | EverySpec | GeometricSpec, PlainValidator(_as_epoch), PlainSerializer(_plain)]


class CheckpointSpec(Spec):
    """Which epochs' weights are kept and which are scored; those of the last epoch are always kept.

    keep, score: each entry is an epoch (0: before training), 'last', 'published' (1 to 10, every 5 to 100, 150, 200,
    250 and 300, as far as the run goes), {every: 5, start: 10, stop: 100} or {geometric: 1.5} (1, 2, 3, 5, 8, …).
    prune: 'never': weights that are scored are kept too; or 'scored': weights that only `score` names, and that are
    not the last, are deleted as soon as all their benchmarks are scored. A further benchmark cannot score them then.
    """

    keep: tuple[Epoch, ...] = ("last",)
    score: tuple[Epoch, ...] = ("last",)
    prune: Literal["never", "scored"] = "never"

    def prunable(self, last: int) -> tuple[int, ...]:
        """The epochs of a run of `last` epochs whose weights go once they are scored, ascending."""
        if self.prune == "never":
            return ()
        stay = {*schedule_epochs(self.keep, last), last}
        return tuple(epoch for epoch in schedule_epochs(self.score, last) if epoch not in stay)


def schedule_epochs(wanted: tuple[Epoch, ...], last: int) -> tuple[int, ...]:
    """The epochs that entries name in a run of `last` epochs, ascending; a plain number or a `stop` may lie beyond."""
    found: set[int] = set()
    for entry in wanted:
        if entry == "last":
            found.add(last)
        elif entry == "published":
            found.update(epoch for epoch in PUBLISHED if epoch <= last)
        elif isinstance(entry, EverySpec | GeometricSpec):
            found.update(entry.epochs(last))
        else:
            found.add(int(entry))
    return tuple(sorted(found))


def names_nothing(wanted: tuple[Epoch, ...], lengths: Collection[int]) -> tuple[str, int] | None:
    """A schedule that names no epoch, as it is written, and of how long a run; None where each names one.

    Each has to name one of the longest run, and all together one of the shortest: of short ones others may be enough.
    """
    empty = [(entry, max(lengths)) for entry in wanted if not schedule_epochs((entry,), max(lengths))]
    if not empty and wanted and not schedule_epochs(wanted, min(lengths)):
        empty = [(wanted[0], min(lengths))]
    for entry, last in empty:
        return ", ".join(f"{name}: {value}" for name, value in _plain(entry).items()), last
    return None
