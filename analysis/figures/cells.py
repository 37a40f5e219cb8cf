"""Laws and tables as the cells of a page: what stands in each, and what it is sorted by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.fit.law import FittedLaw
from analysis.fit.status import DIRECTIONS, USABLE, Verdict
from analysis.fit.words import change_cell

SHARES = ("score", "accuracy")  # columns that begin so are shown with three decimals
EXACT = 1e6  # whole numbers from here on are shown rounded


@dataclass(frozen=True)
class Statement:
    """What a law says of rows, or of one group that shares it: `name` of what it is asked about.

    told: whether its trend is told in a sentence; one that another statement tells already stands in the table alone.
    """

    name: str
    law: FittedLaw
    group: str = ""
    told: bool = True

    @property
    def trend(self) -> str:
        """Whether it scales, a sentence with numbers; empty for a constant, which is not asked."""
        return self.law.trend_text(self.group)

    @property
    def verdict(self) -> Verdict:
        """Of the form, for this group."""
        return self.law.verdict_of(self.group)

    def owns(self, name: str) -> bool:
        """Whether a parameter is the group's, or shared."""
        return "[" not in name or name.endswith(f"[{self.group}]")

    @property
    def form(self) -> str:
        """Status of the form and its reason; empty where no form is asked for, as nothing falls."""
        verdict = self.verdict
        if verdict.status in DIRECTIONS:
            return ""
        return verdict.status + (f": {verdict.reason}" if verdict.reason else "")

    @property
    def sentence(self) -> str:
        return f"{self.trend}; {self.form}" if self.form else self.trend


def law_note(law: FittedLaw) -> str:
    """What is said of a law whose curve is not drawn, in the few words that a panel has room for."""
    told = f"{law.quantity} {change_cell(law.trends[''])}" if "" in law.trends else ""
    return "; ".join(part for part in (told, "" if law.status in DIRECTIONS else law.status) if part)


def law_cells(statement: Statement) -> dict[str, Any]:
    """A row of the table of laws."""
    law, trend = statement.law, statement.law.trends.get(statement.group)
    verdict = statement.verdict
    asked = verdict.status not in DIRECTIONS
    return {
        "name": statement.name, "formula": law.formula, "axes": ", ".join(law.axes),
        "change": change_cell(trend) if trend else "", "status": verdict.status if asked else "no form asked",
        "reason": verdict.reason if asked else "", "params": _params(statement), "rows": law.n_points,
        "configurations": trend.n if trend else law.n_configurations,
    }  # fmt: skip


def _params(statement: Statement) -> str:
    """Parameters with intervals, * where weakly identified; none of a law that is not usable."""
    law = statement.law
    if statement.verdict.status not in USABLE:
        return ""
    said = []
    for name, value in law.params.items():
        if not statement.owns(name):
            continue
        span = " [{:.3g}, {:.3g}]".format(*law.interval(name)) if len(law.draws) else ""
        short, star = name.removesuffix(f"[{statement.group}]"), "*" if name in law.verdict.weak else ""
        said.append(f"{short}{star} = {value:.4g}{span}")
    return ", ".join(said)


def table_cells(frame: pd.DataFrame) -> dict[str, Any]:
    """Columns and rows of a frame; each cell its text and, for numbers, the value that it is sorted by."""
    columns = [str(name) for name in frame.columns]
    rows = [
        [_cell(name, value) for name, value in zip(columns, row, strict=True)]
        for row in frame.itertuples(index=False, name=None)
    ]
    return {"columns": columns, "rows": rows}


def _cell(name: str, value: Any) -> dict[str, str]:
    if pd.isna(value):
        return {"text": "–", "value": ""}
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return {"text": str(value), "value": ""}
    number = float(value)
    if name.startswith(SHARES):
        text = f"{number:.3f}"
    elif number.is_integer() and abs(number) < EXACT:
        text = f"{number:,.0f}"
    else:
        text = f"{number:.3g}"
    return {"text": text, "value": repr(number)}
