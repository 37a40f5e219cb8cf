"""How the laws firm up: each at a quarter, a half, three quarters and all of what is scored, by when the runs ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis import FittedLaw, fit_law
from analysis.answers.answering import study_rows
from analysis.answers.laws import family_rows
from analysis.fit.status import USABLE
from analysis.fit.trend import LEVEL

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Look:
    """A law L = E + A C^-alpha at one time.

    n_runs: that it rests on. change: of L over the measured C, as a share, with its 95 % t interval; without one,
    nothing is known of it. status: of the form; its exponent has no interval here, and is not told.
    """

    n_runs: int
    change: float
    low: float
    high: float
    status: str

    def text(self) -> str:
        if math.isnan(self.low):
            return f"{self.n_runs} runs: too few"
        form = f", form {self.status}" if self.status in USABLE else ""
        return f"{self.change:+.0%} [{self.low:+.0%}, {self.high:+.0%}]{form}"


def looks(frame: pd.DataFrame, ended_at: Mapping[str, float | None]) -> dict[tuple[str, str], list[Look | None]]:
    """(region, family) -> a look at each of SHARES of the frame's runs, in the order in which they ended; None: no law.

    Args:
        frame: as `Study.table`. ended_at: by run_id.
    """
    order = sorted(set(frame["run_id"]), key=lambda run_id: (ended_at.get(run_id) or 0.0, run_id))
    found: dict[tuple[str, str], list[Look | None]] = {}
    for place, share in enumerate(SHARES):
        part = frame[frame["run_id"].isin(order[: math.ceil(share * len(order))])]
        for key, look in _at(part.reset_index(drop=True)).items():
            found.setdefault(key, [None] * len(SHARES))[place] = look
    return found


def _at(frame: pd.DataFrame) -> dict[tuple[str, str], Look | None]:
    try:
        rows = study_rows(frame)
    except ValueError:  # of so few runs that none has all that a row needs
        return {}
    return {
        (region, family): _look(part)
        for region, table in rows.regions.items()
        for family, part in family_rows(table, rows.families).items()
        if part is not None
    }


def _look(part: object) -> Look | None:
    try:
        law = fit_law(part, form="power_law", axes=("flops",), bootstrap=0)  # type: ignore[arg-type]
    except ValueError:  # rows that no law can be asked of, such as a single model
        return None
    return _of(law)


def _of(law: FittedLaw) -> Look:
    total = law.trends[""].total
    low, high = total.interval(LEVEL) if total.known else (math.nan, math.nan)
    change, low, high = (math.expm1(value) for value in (total.value, low, high))
    return Look(len(law.y), change, low, high, law.status)
