"""Which epochs' weights are kept and scored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PlainValidator, PositiveInt
from pydantic_core import PydanticCustomError

from scaling.specs.base import Spec

PUBLISHED = (*range(1, 11), *range(15, 101, 5), 150, 200, 250, 300)  # Gokce & Schrimpf 2025


class EverySpec(Spec):
    """Every `every` epochs from `start` (by default `every`) to `stop` (by default the last)."""

    every: PositiveInt
    start: NonNegativeInt | None = None
    stop: PositiveInt | None = None

    def epochs(self, last: int) -> list[int]:
        return list(range(self.every if self.start is None else self.start, (self.stop or last) + 1, self.every))


class GeometricSpec(Spec):
    """Epochs 1, r, r², …, rounded, each once, up to the last."""

    geometric: Annotated[float, Field(gt=1)]

    def epochs(self, last: int) -> list[int]:
        found, at = [], 1.0
        while round(at) <= last:
            found.append(round(at))
            at *= self.geometric
        return sorted(set(found))


def _as_epoch(value: Any) -> int | str | EverySpec | GeometricSpec:
    if isinstance(value, EverySpec | GeometricSpec) or value in NAMED:
        return value
    if isinstance(value, dict):
        kind: type[EverySpec | GeometricSpec] = GeometricSpec if "geometric" in value else EverySpec
        return kind.model_validate(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        wanted = "an epoch greater than or equal to 0, 'last', 'published', {every: 5} or {geometric: 1.5}"
        raise PydanticCustomError("epoch", "{text}", {"text": f"should be {wanted}"})
    return value


NAMED = ("last", "published")
Epoch = Annotated[int | str | EverySpec | GeometricSpec, PlainValidator(_as_epoch)]


class CheckpointSpec(Spec):
    """Which epochs' weights are kept and which are scored (these are kept too, as long as `prune` says).

    An entry is an epoch (0: before training), 'last', 'published' (1-10, every 5 to 100, 150, 200, 250, 300, as far as
    the run goes), {every: 5, start: 10, stop: 100} or {geometric: 1.5} (1, 2, 3, 5, 8, …).

    prune: 'never', or 'scored': weights that are only scored are deleted once all their scores are stored; what `keep`
    names stays, and so does the last epoch.
    """

    keep: tuple[Epoch, ...] = ("last",)
    score: tuple[Epoch, ...] = ("last",)
    prune: Literal["never", "scored"] = "never"


def schedule_epochs(wanted: tuple[Epoch, ...], last: int) -> tuple[int, ...]:
    """The epochs that entries name in a run of `last` epochs, ascending; a plain number may lie beyond."""
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
