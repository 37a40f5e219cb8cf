"""Pairs of a baseline and its treated twin: rows that agree in everything but the treatment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number

import numpy as np
import pandas as pd

from analysis.columns import Array
from analysis.fit.estimate import Estimate
from analysis.table import ScalingTable

QUANTITIES = ("accuracy", "score")
ALWAYS = ("seed", "benchmark", "region", "epoch")  # what a pair agrees in wherever the table says it


@dataclass(frozen=True)
class Pairs:
    """Pairs of one configuration: accuracy and score of each end, `n_unpaired` rows of either end without a twin.

    frame: columns accuracy_base, accuracy_treated, score_base, score_treated beside what the pairs agree in.
    """

    name: str
    frame: pd.DataFrame
    n_unpaired: int

    def values(self, quantity: str, end: str) -> Array:
        """One quantity of one end ("base" or "treated") of each pair (n,)."""
        return self.frame[f"{quantity}_{end}"].to_numpy(dtype=np.float64)


def pair_rows(
    table: ScalingTable, treated_where: Mapping[str, object], baseline_where: Mapping[str, object],
    match: Sequence[str], over: str | None,
) -> Iterator[Pairs]:  # fmt: skip
    """Pairs that agree in the columns of `match` that there are, and in seed, benchmark, region and epoch.

    over: a column such as "seed": pairs that differ in it alone belong together; None: each pair stands alone. Rows
    that agree in all of that are repeats: their means pair where both ends have equally many.
    Raises ValueError where `match` names no column, or `over` is not one of several.
    """
    keys = _keys(table, match, over)
    full = [*keys, *(name for name in ALWAYS if name in table.columns and name not in keys)]
    first, second = (_means(table.select(**where), full) for where in (baseline_where, treated_where))
    both = first.merge(second, on=[*full, "repeats"], suffixes=("_base", "_treated"))
    rest = [name for name in keys if name != over] if over else full
    ends = pd.concat([first, second], ignore_index=True)
    # Groups by number and not by key: a missing value equals no other, and is one key here.
    code = pd.concat([ends, both])[rest].groupby(rest, dropna=False).ngroup().to_numpy()
    told = _telling(ends, rest)
    for group in range(code.max(initial=-1) + 1):
        rows, pairs = ends[code[: len(ends)] == group], both[code[len(ends) :] == group]
        yield Pairs(_called(rows, told if over else keys, bool(over)), pairs, len(rows) - 2 * len(pairs))


def _keys(table: ScalingTable, match: Sequence[str], over: str | None) -> list[str]:
    """The columns of `match` that the table has."""
    keys = [name for name in match if name in table.columns]
    if not keys:
        raise ValueError(f"none of {list(match)} is a column of the table; give match=[...]")
    if over is not None and (over not in keys or keys == [over]):
        raise ValueError(f"over={over!r} is not one of several columns that pairs agree in: {keys}; give match=[...]")
    return keys


def _means(rows: ScalingTable, keys: Sequence[str]) -> pd.DataFrame:
    """Mean accuracy and score of each key, and the number of rows in it."""
    grouped = rows.require(*QUANTITIES).frame.groupby(list(keys), dropna=False)
    return grouped.agg(**{q: (q, "mean") for q in QUANTITIES}, repeats=(QUANTITIES[0], "size")).reset_index()


def _telling(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The columns that tell the rows apart, each where those before it leave some together; the first at least."""
    told: list[str] = []
    for name in columns:
        before = rows.groupby(told, dropna=False).ngroups if told else 1
        if rows.groupby([*told, name], dropna=False).ngroups > before:
            told.append(name)
    return told or [columns[0]]


def _called(rows: pd.DataFrame, columns: Sequence[str], units: bool) -> str:
    """A pair's name by what these columns hold, numbers with their column's name."""
    texts = [(name.replace("_", " "), rows[name].iloc[0]) for name in columns]
    return " ".join(f"{name} {value}" if units and isinstance(value, Number) else str(value) for name, value in texts)


def t_interval(values: Array) -> Estimate:
    """Mean of n values and its 95 % interval, mean ± t(.975, n - 1) · s / √n; none for a single value."""
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    if n < 2:
        return Estimate(value=mean)
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return Estimate(value=mean, low=mean - half, high=mean + half)
