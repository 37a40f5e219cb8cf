"""Whether rows are one a model, as a law takes them: no regions, benchmarks or metrics mixed without a word."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.columns import ACCURACY, CONFIGURATION, MEASURED, REGION_ALIASES, REGIONS, TRAINED, listed
from analysis.limits import is_text
from analysis.table import ScalingTable

KNOWN = {*CONFIGURATION, *MEASURED, "run_id"}
POINT = ("run_id", "seed", "epoch", *CONFIGURATION, *TRAINED)  # what names one model at one point of its training


def check_parts(rows: ScalingTable, region: str | None = None, mean: bool = False) -> None:
    """Refuse (ValueError) rows that a law of a region, of each region, or of the mean over them would mix.

    That is: a region or a mean asked for without a column of regions; regions or benchmarks told apart by another
    column alone; several benchmarks of a region outside a mean; several rows of a run that nothing tells apart.
    """
    if region is not None or mean:
        rows.column("region")
    if "region" not in rows.columns:
        _no_region(rows)
    elif not mean:
        _one_benchmark(rows if region in (None, ACCURACY) else rows.select(region=region))
    _one_row(rows.frame)


def _no_region(rows: ScalingTable) -> None:
    """Refuse benchmarks or regions that no column `region` tells apart."""
    if "benchmark" in rows.columns and len(names := rows.unique("benchmark")) > 1:
        raise ValueError(
            f"the table has no column 'region' and rows of {len(names)} benchmarks ({listed(names, 5)}), which one law "
            f"would mix; choose one, as --where benchmark={names[0]}, or fit each: --column region=benchmark"
        )
    for name in rows.columns:
        if name not in KNOWN and is_text(rows.column(name)) and _tells_apart(rows, name):
            raise ValueError(
                f"the table has no column 'region', and its column {name!r} holds {listed(rows.unique(name), 5)}, "
                f"which one law would mix; say --column region={name!r} or --column seed={name!r}, or choose by --where"
            )


def _tells_apart(rows: ScalingTable, name: str) -> bool:
    """Whether a column names regions, or is all that rows of one model differ by: every value comes once a model."""
    values = rows.unique(name)
    if len(values) > 1 and {REGION_ALIASES.get(value, value) for value in values} <= set(REGIONS):
        return True
    keys = [key for key in POINT if key in rows.columns]
    if len(values) < 2 or not keys or rows.frame.duplicated([*keys, name]).any():
        return False
    return int(rows.frame.groupby(keys, dropna=False).size().max()) == len(values)


def _one_benchmark(rows: ScalingTable) -> None:
    if "benchmark" not in rows.columns:
        return
    for region, part in rows.group("region"):
        names = part.unique("benchmark")
        if len(names) > 1:
            raise ValueError(
                f"region {region} has rows of {len(names)} benchmarks ({listed(names, 5)}), which one law would mix; "
                f"choose one, as --where benchmark={names[0]}, or take the mean over all"
            )


def _one_row(frame: pd.DataFrame) -> None:
    """Refuse runs of several rows at one point of their training and in one benchmark."""
    keys = [name for name in (*POINT, "region", "benchmark") if name in frame]
    if "run_id" not in frame or not (repeated := frame.duplicated(keys, keep=False) & frame["run_id"].notna()).any():
        return
    rows = frame[repeated]
    first = rows[(rows[keys].astype(str) == rows[keys].iloc[0].astype(str)).all(axis=1)]
    raise ValueError(
        f"run_id={first['run_id'].iloc[0]!r} has {len(first)} rows at one point of its training"
        f"{_differing(first, keys)}; a law takes one row a run and region: choose rows with --where, or say --column "
        "region=THEIRS or epoch=THEIRS"
    )


def _differing(rows: pd.DataFrame, keys: Sequence[str]) -> str:
    names = [str(name) for name in rows if name not in keys and rows[name].astype(str).nunique() > 1]
    return f", which differ in {listed(names, 5)}" if names else ""
