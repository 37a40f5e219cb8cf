"""The columns of a scaling table: their meaning, units and limits, and the maps from other tables' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Column:
    """A numeric column: its unit, and the limits that its values must keep (ends included unless `open_low`)."""

    unit: str
    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    remedy: str = ""


NUMERIC: dict[str, Column] = {
    "n_params": Column("parameters", 0, open_low=True),
    "n_samples": Column("unique training images", 0),
    "samples_seen": Column("training images shown, with repetition", 0),
    "flops": Column("FLOP of the whole training", 0, open_low=True,
                    remedy="leave untrained models out, or mark their compute as missing"),
    "flops_per_image": Column("FLOP of one forward pass (2 x MACs)", 0, open_low=True),
    "score": Column("share of the ceiling", high=1.0, remedy="divide percentages by 100; check the ceiling"),
    "accuracy": Column("share correct", 0, 1, remedy="divide percentages by 100"),
    "loss": Column("nats"),
    "epochs": Column("passes over the training set", 0),
    "ceiling": Column("correlation", 0, open_low=True),
}  # fmt: skip

PUBLISHED = {
    "model_id": "run_id",
    "benchmark_name": "benchmark",
    "arch_family": "family",
    "total_flops": "flops",
    "flops": "flops_per_image",
    "n_samples_seen": "samples_seen",
    "samples_per_class": "images_per_class",
    "n_epochs": "epochs",
    "acc": "accuracy",
}  # Gokce & Schrimpf 2025, artifacts/benchmark_scores.csv
PUBLISHED_SIGNATURE = {"total_flops", "n_samples_seen", "arch_family", "samples_per_class"}

MISALIGNMENT = "misalignment"  # 1 - score: what laws are fitted to, unless another column is named
ACCURACY = "accuracy"  # a region of its own in tables that treat held-out accuracy as a score

# What differs between the rows of one checkpoint: the benchmark and what was measured on it.
MEASURED = ("benchmark", "benchmark_id", "region", "metric", "layer", "raw", "ceiling", "score", "score_status",
            "score_reason", "n_stimuli", "n_neuroids")  # fmt: skip
# What makes a configuration; its seeds, checkpoints and benchmarks stay together in a bootstrap.
CONFIGURATION = ("study", "family", "arch", "size", "depth", "width", "dataset", "image_size", "images_per_class",
                 "objective", "epochs", "n_params", "n_samples", "flops_per_image", "is_pretrained", "is_random",
                 "is_ssl", "is_adv", "is_ablation", "ssl_method", "adv_method")  # fmt: skip
REGIONS = ("V1", "V2", "V4", "IT", "behavior")
REGION_ALIASES = {"Behavioral": "behavior", "behavioral": "behavior", "Behavior": "behavior"}


def rename(frame: pd.DataFrame, columns: Mapping[str, str] | None) -> pd.DataFrame:
    """Columns in our words: by the map given (theirs -> ours), or the published table's, if it is that table."""
    if not columns and set(frame.columns) >= PUBLISHED_SIGNATURE:
        frame = training_compute(frame.rename(columns=PUBLISHED))
        everything = frame["images_per_class"] == 0
        return frame.assign(images_per_class=frame["images_per_class"].astype("Int64").mask(everything))
    columns = columns or {}
    absent = sorted(set(columns) - set(frame.columns))
    if absent:
        raise ValueError(f"column map names {absent}, which the table lacks; its columns: {listed(frame.columns)}")
    renamed = frame.rename(columns=dict(columns))
    doubled = sorted(set(renamed.columns[renamed.columns.duplicated()]))
    if doubled:
        raise ValueError(f"two columns are called {doubled} once the column map is applied; map each to one name")
    return renamed


def training_compute(frame: pd.DataFrame) -> pd.DataFrame:
    """C = 3 . flops_per_image . samples_seen in every row, also where a table counts forward passes alone.

    Gokce & Schrimpf's table of final models holds the 3x, their table of intermediate checkpoints does not.
    Raises ValueError where the rows follow neither convention.
    """
    total, image, seen = (
        pd.to_numeric(frame[c], errors="coerce") for c in ("flops", "flops_per_image", "samples_seen")
    )
    once = image * seen
    ratio = total / once.where(once > 0)
    known = ratio.dropna()
    for passes, factor in ((3.0, 1.0), (1.0, 3.0)):
        if np.isclose(known, passes, rtol=1e-2).all():
            return frame.assign(flops=frame["flops"] * factor) if factor != 1 else frame
    row = int(np.argmax(~np.isclose(ratio.fillna(3.0), 3.0, rtol=1e-2)))
    raise ValueError(
        f"total_flops / (flops x n_samples_seen) is {ratio.iloc[row]:.3g} in row {row}; the published tables count 3 "
        "passes an image seen (training), or 1 (forward alone), in all rows; correct total_flops"
    )


def check(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The frame with numeric columns as float64, values within their limits, regions in one spelling.

    Raises ValueError naming the column, the value, the limit, the row and a remedy. Missing values pass: they are
    counted when something needs them.
    """
    if frame.empty:
        raise ValueError(f"the table from {where} has no rows")
    frame = frame.copy()
    for name in NUMERIC.keys() & set(frame.columns):
        frame[name] = _number(frame[name], name, where)
        _limits(frame[name], name, where)
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


def _limits(values: pd.Series, name: str, where: str) -> None:
    column = NUMERIC[name]
    low = values <= column.low if column.open_low else values < column.low
    bad = low | (values > column.high) | np.isinf(values)
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        least = f"{'above' if column.open_low else 'at least'} {column.low:g}, " if np.isfinite(column.low) else ""
        limit = f"{least}at most {column.high:g}, and finite"
        raise ValueError(
            f"{name}={values.iloc[row]:g} (row {row} of {where}; {int(bad.sum())} such rows) must be {limit} "
            f"[{column.unit}]{'; ' + column.remedy if column.remedy else ''}"
        )


def measured_name(target: str) -> str:
    """The column that a target is computed from: "score" for misalignment, else the target itself."""
    return "score" if target == MISALIGNMENT else target


def measured(target: str, y: Any) -> Any:
    """Score of misalignment y, and misalignment of a score; values of any other target as they are."""
    return 1 - y if target == MISALIGNMENT else y


def listed(names: object, limit: int = 30) -> str:
    """Names for an error message, shortened where there are many."""
    known = sorted(str(name) for name in names)  # type: ignore[attr-defined]
    return ", ".join(known[:limit]) + (f", … ({len(known) - limit} more)" if len(known) > limit else "")
