"""Means over equal sets: a model without every part (region, benchmark, seed) has no mean, and is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd


def with_every_part(
    frame: pd.DataFrame, keys: Sequence[str], part: Sequence[str], of: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of the models that have a value of `of` in every part, and what the others lack -> number of models.

    keys: columns that name a model; part: columns that name a part; the parts are all those of the frame.
    """
    model = frame.groupby(list(keys), dropna=False, sort=False).ngroup().to_numpy()
    code = frame.groupby(list(part), dropna=False, sort=False).ngroup().to_numpy()
    names = [_called(frame.iloc[row][list(part)]) for row in np.unique(code, return_index=True)[1]]
    there = np.zeros((model.max(initial=-1) + 1, len(names)), dtype=bool)
    known = frame[of].notna().to_numpy()
    there[model[known], code[known]] = True
    whole: npt.NDArray[np.bool_] = np.asarray(there.all(axis=1))
    lacking: dict[str, int] = {}
    for row in there[~whole]:
        what = ", ".join(name for name, has in zip(names, row, strict=True) if not has)
        lacking[what] = lacking.get(what, 0) + 1
    return frame[whole[model]], lacking


def _called(part: pd.Series) -> str:
    """A part's name, its benchmark before its region: the benchmark says both."""
    return str(part["benchmark"] if "benchmark" in part and pd.notna(part["benchmark"]) else part.iloc[0])


def mean_of_parts(frame: pd.DataFrame, keys: Sequence[str], of: str, drop: Sequence[str]) -> pd.DataFrame:
    """One row a model: the mean of `of`, and every column outside `drop` in which its rows agree."""
    others = [name for name in frame.columns if name not in drop and name not in (of, *keys)]
    grouped = frame.groupby(list(keys), dropna=False, sort=False)
    steady = [name for name in others if (grouped[name].nunique(dropna=False) <= 1).all()]
    return grouped.agg({of: "mean", **dict.fromkeys(steady, "first")}).reset_index()
