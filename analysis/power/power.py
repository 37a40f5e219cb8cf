"""A study's power: the chances of every region and family, and what would lift those that are small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.power.additions import WANTED, Addition, best_addition
from analysis.power.assumed import AssumedLaw
from analysis.power.chances import Chances, chances
from analysis.power.grid import Grid

WORTH = 0.05  # a smaller gain is not worth a word
NOTE = (
    "Each family is judged by itself, which is cautious: in a law of several families those share exponents. "
    "Chances hold if the law that is assumed does."
)


@dataclass(frozen=True)
class FamilyPower:
    """One region and family. law: what is assumed, or why nothing is; best: see `best_addition`, where it is asked.

    sd: standard deviation of a configuration's mean ln y.
    """

    region: str
    family: str
    law: AssumedLaw | str
    chances: Chances | None = None
    best: Addition | None = None
    sd: float = np.nan

    @property
    def source(self) -> str:
        """Where the law is from, in words; "" without one."""
        return self.law.source if isinstance(self.law, AssumedLaw) else ""

    @property
    def enough(self) -> bool:
        return self.chances is not None and self.chances.least >= WANTED

    def warning(self) -> str:
        """What is too unlikely, why, and what would lift it; "" where nothing is."""
        where = f"{self.region}, {self.family}"
        if isinstance(self.law, str) or self.chances is None:
            return f"{where}: no chance can be stated, {self.law}"
        if self.enough:
            return ""
        stated = (("'falls'", self.chances.falls), ("a usable form", self.chances.usable))
        found = [f"{what} {chance:.2f}" for what, chance in stated if chance < WANTED]
        reason = f" ({self.chances.reason})" if self.chances.reason else ""
        return f"{where}: chance of {' and of '.join(found)}{reason}; {self._remedy()}"

    def _remedy(self) -> str:
        none = f"no single size, data size or seed lifts it to {WANTED:g}"
        if self.best is None or self.chances is None or self.best.chances.least < self.chances.least + WORTH:
            return none
        said = f"{self.best.words} (+{self.best.flops:.2g} FLOP in this family): {self.best.chances.least:.2f}"
        return f"the cheapest that lifts it is {said}" if self.best.chances.least >= WANTED else f"{none}; best {said}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `change` is of ln y over the grid."""
        return {
            "region": self.region, "family": self.family,
            "assumed": self.law if isinstance(self.law, str) else asdict(self.law),
            "chances": None if self.chances is None else asdict(self.chances),
            "best_addition": None if self.best is None else asdict(self.best), "warning": self.warning(),
        }  # fmt: skip


@dataclass(frozen=True)
class StudyPower:
    """Every region and family of a study."""

    rows: tuple[FamilyPower, ...]

    def warnings(self) -> list[str]:
        return [said for row in self.rows if (said := row.warning())]

    def to_dict(self) -> dict[str, Any]:
        return {"wanted": WANTED, "note": NOTE, "rows": [row.to_dict() for row in self.rows]}


def plan_power(
    grids: Mapping[str, Grid], laws: Mapping[tuple[str, str], AssumedLaw | str], most_samples: float = np.inf
) -> StudyPower:
    """Chances of each (region, family) of `laws` on the family's grid; most_samples: unique images that there are."""
    return StudyPower(tuple(_of_family(*key, grids[key[1]], law, most_samples) for key, law in laws.items()))


def _of_family(region: str, family: str, grid: Grid, law: AssumedLaw | str, most_samples: float) -> FamilyPower:
    if isinstance(law, str):
        return FamilyPower(region, family, law)
    found = chances(grid, law)
    best = best_addition(grid, law, most_samples) if found.least < WANTED else None
    return FamilyPower(region, family, law, found, best, law.sigma(grid.seeds))
