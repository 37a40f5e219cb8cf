"""Which benchmarks of one stimulus set share their work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from scaling.alignment.commitment import Commitment


class Mapped(Protocol):
    """What of a benchmark says how its stimuli are split and mapped, and which layers it may commit to."""

    @property
    def name(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def strata(self) -> Any: ...

    @property
    def readout_only(self) -> bool: ...


B = TypeVar("B", bound=Mapped)


def group_alike(benchmarks: Sequence[B], commitment: Commitment) -> list[list[B]]:
    """Benchmarks of one stimulus set in groups that are split, mapped and committed alike."""
    groups: dict[Any, list[B]] = {}
    for benchmark in benchmarks:
        strata = None if benchmark.strata is None else tuple(benchmark.strata)
        key = (
            benchmark.metric,
            benchmark.seed,
            strata,
            commitment.fixed(benchmark.name, benchmark.region),
            benchmark.readout_only,
        )
        groups.setdefault(key, []).append(benchmark)
    return list(groups.values())
