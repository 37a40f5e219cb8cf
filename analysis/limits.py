"""Limits: values that no measurement gives are refused by name, those that it can give are kept."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import NUMERIC, REGION_ALIASES, Array, NumericColumn

ROUNDING = 1e-6  # how far float arithmetic may carry a value beyond a limit, as the correlation of a copy beyond 1


def check(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The frame with numeric columns as float64, values within their limits, regions in one spelling.

    Raises ValueError naming the column, the value, the limit, the row and a remedy. Missing values pass: they are
    counted when something needs them.
    """
    if frame.empty:
        raise ValueError(f"the table from {where} has no rows")
    frame = frame.copy()
    known = [name for name in NUMERIC if name in frame]
    for name in known:
        frame[name] = _number(frame[name], name, where)
    for name in known:
        _limits(frame, name, where)
    if "region" in frame:
        frame["region"] = frame["region"].replace(REGION_ALIASES)
    return frame


def _number(values: pd.Series, name: str, where: str) -> pd.Series:
    number = pd.to_numeric(values, errors="coerce").astype(np.float64)
    lost = number.isna() & values.notna()
    if lost.any():
        row = int(np.argmax(lost.to_numpy()))
        raise ValueError(f"{name}={values.iloc[row]!r} (row {row} of {where}) is no number; unit: {NUMERIC[name].unit}")
    return number


def _limits(frame: pd.DataFrame, name: str, where: str) -> None:
    column, values = NUMERIC[name], frame[name].to_numpy()
    reach = _quotient(frame) if name == "score" else np.zeros(len(frame))
    low = values <= column.low if column.open_low else values < np.minimum(column.low, -reach) - ROUNDING
    bad = low | (values > np.maximum(column.high, reach) + ROUNDING) | np.isinf(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name}={values[row]:g} (row {row} of {where}; {int(bad.sum())} such rows) must be {_limit(column)} "
            f"[{column.unit}]{'; ' + column.remedy if column.remedy else ''}"
        )


def _quotient(frame: pd.DataFrame) -> Array:
    """What a row's own raw value and ceiling allow its score, |raw| / ceiling or its square; 0 where they are missing.

    A low ceiling may carry a score beyond every fixed limit.
    """
    if not {"raw", "ceiling"} <= set(frame.columns):
        return np.zeros(len(frame))
    ratio = (frame["raw"].abs() / frame["ceiling"]).fillna(0.0).to_numpy(dtype=np.float64)
    return np.maximum(ratio, ratio**2)


def _limit(column: NumericColumn) -> str:
    least = f"{'above' if column.open_low else 'at least'} {column.low:g}, " if np.isfinite(column.low) else ""
    return f"{least}at most {column.high:g}, and finite"
