"""Delimited text as a frame: which separator, which decimal mark, and what a header may not be."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

import pandas as pd

SEPARATORS = (",", ";", "\t", "|")
BLANKS = r"\s+"
HEAD = 2**20  # letters in which the header and the first row end; assumption

_NAMED = re.compile(r'\A"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)  # Excel's own first line
_NUMBER = r"[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?"
_DECIMAL = r"[+-]?(?:0|\d{4,}|\d+(?:\.\d{3})+),\d+|[+-]?\d+,(?:\d{1,2}|\d{4,})|[+-]?\d+,\d+[eE][+-]?\d+"
_THOUSANDS = r"[+-]?\d{1,3}(?:(?:,\d{3}){2,}|(?:,\d{3})+\.\d+)"


def parse(text: str, tabs: bool = False) -> pd.DataFrame:
    """The rows of a delimited text.

    The separator is the one that gives the header most columns (tabs: try tabs first; blanks where there is none).
    Where it is no comma, numbers may have decimal commas.
    Raises ValueError: a single column, a column twice, rows longer than the header, a header that comes again,
    numbers whose comma may be either mark; pandas' own errors for what it cannot parse.
    """
    named = _NAMED.match(text)
    text = text[named.end() :] if named else text
    separator = named[1] if named else _separator(text, tabs)
    _check_header(text, separator)
    frame = _frame(text, separator)
    if separator != "," and _has_decimal_commas(frame):
        frame = _frame(text, separator, decimal=",")
    _check_rows(frame)
    return frame


def _separator(text: str, tabs: bool) -> str:
    """The separator that gives header and first row equally many columns, and most of them; blanks where none does."""
    lines = [line for line in text[:HEAD].splitlines() if line.strip()][:2]

    def columns(separator: str) -> tuple[bool, int]:
        counts = [len(next(csv.reader([line], delimiter=separator))) for line in lines]
        return len(set(counts)) == 1 and counts[0] > 1, max(counts, default=0)

    best = max(("\t", *SEPARATORS) if tabs else SEPARATORS, key=columns)
    return BLANKS if lines and columns(best)[1] < 2 and len(lines[0].split()) > 1 else best


def _frame(text: str, separator: str, decimal: str = ".", **options: object) -> pd.DataFrame:
    blanks = separator in (",", ";", "|")  # after a tab they may be a field that is empty
    frame: pd.DataFrame = pd.read_csv(
        io.StringIO(text), sep=separator, decimal=decimal, low_memory=False, skipinitialspace=blanks, **options
    )  # type: ignore[call-overload]
    return frame


def _check_header(text: str, separator: str) -> None:
    """Refuse a column that comes twice, which pandas would call 'score.1', and a table of one."""
    header = _frame(text, separator, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    names = [str(name).strip() for name in header]
    if len(names) < 2:
        raise ValueError(f"it has one column ({names[0]!r}); columns apart by commas, semicolons or tabs are expected")
    twice = [name for name, n in Counter(names).items() if n > 1 and name]
    if twice:
        at = [i for i, name in enumerate(names) if name == twice[0]]
        raise ValueError(f"its header has {twice[0]!r} {len(at)} times (columns {at}); name each column once")


def _check_rows(frame: pd.DataFrame) -> None:
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its header has names; name every column, end no row with a "
                         "separator")  # fmt: skip
    texts = frame.select_dtypes(exclude="number")
    if texts.shape[1] < frame.shape[1]:
        return
    again = (texts.astype(str) == [str(name) for name in frame.columns]).all(axis=1).to_numpy()
    if again.any():
        raise ValueError(
            f"row {int(again.argmax())} is the header again ({int(again.sum())} such rows), as in files that were "
            "joined; remove it"
        )


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    """Whether numbers with commas have them as decimal marks; either mark in all of them is refused."""
    found: dict[str, str] = {}
    decimal = thousands = False
    for name in frame.select_dtypes(exclude="number"):
        cells = frame[name].dropna().astype(str).str.strip()
        if cells.str.fullmatch(_NUMBER).all() and (commas := cells[cells.str.contains(",")]).any():
            found[str(name)] = commas.iloc[0]
            decimal |= bool(commas.str.fullmatch(_DECIMAL).any())
            thousands |= bool(commas.str.fullmatch(_THOUSANDS).any())
    if found and decimal == thousands:
        name, value = next(iter(found.items()))
        raise ValueError(
            f"{name}={value!r} has a comma that may mark decimals or thousands; write numbers with a decimal point "
            "and nothing between thousands"
        )
    return decimal
