"""Limits: values that no measurement gives are refused by name, those that it can give are kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.columns import FLAGS, NUMERIC, REGION_ALIASES, Array, NumericColumn

SAID = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}
ROUNDING = 1e-6  # how far float arithmetic may carry a value beyond a limit, as the correlation of a copy beyond 1


def check(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The frame with numeric columns as float64, values within their limits, text trimmed, regions in one spelling.

    Raises ValueError naming the column, the value, the limit, the row and a remedy. Missing values, and text that is
    blank, pass as missing: they are counted when something needs them.
    """
    if frame.empty:
        raise ValueError(f"the table from {where} has no rows")
    frame = frame.assign(**{str(name): trimmed(frame[name]) for name in frame if is_text(frame[name])})
    known = [name for name in NUMERIC if name in frame]
    for name in known:
        frame[name] = numbers(frame[name], name, where)
    for name in known:
        _limits(frame, name, where)
    for name in FLAGS:
        if name in frame and is_text(frame[name]):
            frame[name] = _flags(frame[name], where)
    if "region" in frame:
        frame["region"] = frame["region"].replace(REGION_ALIASES)
    return frame


def is_text(values: pd.Series) -> bool:
    """Whether a column may hold text."""
    return isinstance(values.dtype, pd.CategoricalDtype) or not (
        pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_datetime64_any_dtype(values.dtype)
    )


def trimmed(values: pd.Series) -> pd.Series:
    """A column whose text has no blanks at its ends; text of blanks alone is missing. Categories are their values."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    found = [value.strip() or np.nan if isinstance(value, str) else value for value in values]
    changed = any(new is not old and isinstance(old, str) for new, old in zip(found, values, strict=True))
    return pd.Series(found, index=values.index, dtype=values.dtype) if changed else values


def numbers(values: pd.Series, name: str, where: str, rows: Mapping[str, str] | None = None) -> pd.Series:
    """A column as float64, missing values as nan.

    Raises ValueError where one is no number, with its row, counted from 0: of `where`, or as `rows` says of its text.
    """
    number = as_number(values)
    lost = number.isna() & values.notna()
    if lost.any():
        row = int(np.argmax(lost.to_numpy()))
        said = repr(values.iloc[row])
        place = (rows or {}).get(said, f"row {row} of {where}")
        unit = f"; unit: {NUMERIC[name].unit}" if name in NUMERIC else "; leave it empty where nothing was measured"
        raise ValueError(f"{name}={said} ({place}) is no number{unit}")
    return number


def texts_among_numbers(frame: pd.DataFrame, where: str) -> dict[str, dict[str, str]]:
    """Of each column that holds both: what is no number, and the first row that it stands in."""
    found = {}
    for name in (name for name in frame if is_text(frame[name])):
        number = as_number(frame[name])
        lost = frame[name][number.isna() & frame[name].notna()]
        if len(lost) and number.notna().any():
            said = lost.map(repr).drop_duplicates()
            found[str(name)] = {text: f"row {row} of {where}" for row, text in said.items()}
    return found


def as_number(values: pd.Series) -> pd.Series:
    """A column as float64; what is no number as nan."""
    if values.dtype == object:  # a list in a cell would end the conversion of them all
        values = values.map(lambda value: value if np.ndim(value) == 0 else "")
    elif pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.Series(np.nan, index=values.index)
    return pd.to_numeric(values, errors="coerce").astype(np.float64)


def _flags(values: pd.Series, where: str) -> pd.Series:
    """A column of yes and no as booleans; text would count as yes, whatever it says."""
    said = values.astype(str).str.lower().map(SAID).where(values.notna())
    lost = said.isna() & values.notna()
    if lost.any():
        row = int(np.argmax(lost.to_numpy()))
        raise ValueError(f"{values.name}={values.iloc[row]!r} (row {row} of {where}) must be true or false")
    return said.astype(bool) if said.notna().all() else said


def _limits(frame: pd.DataFrame, name: str, where: str) -> None:
    column, values = NUMERIC[name], frame[name].to_numpy()
    reach = _quotient(frame) if name == "score" else np.zeros(len(frame))
    low = values <= column.low if column.open_low else values < np.minimum(column.low, -reach) - ROUNDING
    bad = low | (values > np.maximum(column.high, reach) + ROUNDING) | np.isinf(values)
    counts = np.where(values < column.whole_below, values, 0.0)
    part = np.abs(counts - np.round(counts)) > ROUNDING
    if (bad | part).any():
        row = int(np.argmax(bad | part))
        limit = _limit(column) if bad[row] else f"whole below {column.whole_below:,.0f}"
        raise ValueError(
            f"{name}={values[row]:g} (row {row} of {where}; {int((bad | part).sum())} such rows) must be {limit} "
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
    most = f"at most {column.high:g}, " if np.isfinite(column.high) else ""
    return f"{least}{most}and finite" if least or most else "finite"
