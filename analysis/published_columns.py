"""The published table of Gokce & Schrimpf (2025), and any other whose columns have other names, in our words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.columns import listed

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


def rename(frame: pd.DataFrame, columns: Mapping[str, str] | None) -> pd.DataFrame:
    """Columns in our words: by the map given (theirs -> ours), after the published table's own where it is that table.

    Raises ValueError where the map names no column, or two columns come to one name.
    """
    if any(not isinstance(name, str) or name != name.strip() for name in frame.columns):
        frame = frame.rename(columns=lambda name: str(name).strip())
    frame, theirs = _single(frame, ""), dict(columns or {})
    if set(frame.columns) >= PUBLISHED_SIGNATURE:
        absent = sorted(set(theirs) - set(frame.columns) - set(PUBLISHED.values()))
        frame, theirs = _published(frame), {PUBLISHED.get(name, name): ours for name, ours in theirs.items()}
    else:
        absent = sorted(set(theirs) - set(frame.columns))
    if absent:
        raise ValueError(f"column map names {absent}, which the table lacks; its columns: {listed(frame.columns)}")
    return _single(frame.rename(columns=theirs), " once the column map is applied")


def _published(frame: pd.DataFrame) -> pd.DataFrame:
    """The published table in our words: with training compute, and all images of a class as a missing number."""
    frame = training_compute(_single(frame.rename(columns=PUBLISHED), " in the words of this package"))
    everything = frame["images_per_class"] == 0
    return frame.assign(images_per_class=frame["images_per_class"].astype("Int64").mask(everything))


def _single(frame: pd.DataFrame, when: str) -> pd.DataFrame:
    """The frame, unless two of its columns have one name."""
    doubled = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if doubled:
        raise ValueError(f"two columns are called {doubled}{when}; map each to one name")
    return frame


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
            return frame.assign(flops=(total * factor).where(total.notna(), frame["flops"])) if factor != 1 else frame
    row = int(np.argmax(~np.isclose(ratio.fillna(3.0), 3.0, rtol=1e-2)))
    raise ValueError(
        f"total_flops / (flops x n_samples_seen) is {ratio.iloc[row]:.3g} in row {row}; the published tables count 3 "
        "passes an image seen (training), or 1 (forward alone), in all rows; correct total_flops"
    )
