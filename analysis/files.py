"""Tables from files of the user's own: CSV and Parquet, read plainly."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV as a frame; what is no CSV is refused."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no table at {path}; give the path of a CSV file")
    try:
        frame = pd.read_csv(path, sep=None if str(path).endswith(".tsv") else ",", low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV: {error}") from error
    if frame.shape[1] < 2:
        raise ValueError(f"{path} is not a CSV of several columns: it has {list(frame.columns)[:3]!r}; commas expected")
    return frame


def read_parquet(path: str | Path) -> pd.DataFrame:
    """A Parquet file, or a folder of alike ones, as a frame; local or a URI that pyarrow knows."""
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no Parquet file or folder at {path}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not Parquet: {error}") from error
