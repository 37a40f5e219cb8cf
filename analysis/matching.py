"""Which rows a condition chooses: values as the column spells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import listed
from analysis.limits import as_number

YES_NO = {"true": True, "false": False}


def matching(column: pd.Series, choices: Sequence[Any]) -> npt.NDArray[np.bool_]:
    """Rows (n,) whose value is one of the choices; None chooses missing values.

    Text chooses numbers and booleans that it spells, a number the text that spells it. Raises ValueError, with the
    known values, where no row has one of the choices; True and False may choose no row of a column of flags.
    """
    keep = column.isna().to_numpy() & (None in choices)
    for wanted in (choice for choice in choices if choice is not None):
        found = _rows(column, wanted)
        if not found.any() and not (isinstance(wanted, bool | np.bool_) and _holds_flags(column)):
            known = listed(column.dropna().unique())
            raise ValueError(f"no row has {column.name}={wanted!r}; the table's values: {known}")
        keep |= found
    return keep


def _rows(column: pd.Series, wanted: Any) -> npt.NDArray[np.bool_]:
    exact = (column == wanted).fillna(False).to_numpy(dtype=bool)
    if exact.any():
        return exact
    flag = _flag(wanted)
    if flag is not None and (_holds_flags(column) or not isinstance(wanted, str)):
        spelled = column.astype(str).str.lower() == str(flag).lower()
        return np.asarray((spelled | (column == flag)).fillna(False), dtype=bool)
    number = as_number(pd.Series([wanted])).iloc[0]
    return np.zeros(len(column), dtype=bool) if np.isnan(number) else as_number(column).to_numpy() == number


def _flag(wanted: Any) -> bool | None:
    return bool(wanted) if isinstance(wanted, bool | np.bool_) else YES_NO.get(str(wanted).lower())


def _holds_flags(column: pd.Series) -> bool:
    """Whether a column holds booleans alone, or 0 and 1."""
    return set(column.dropna().unique()) <= {True, False}
