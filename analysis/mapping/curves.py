"""Scores by the number of stimuli that the mapping is fitted on: rows of a run, benchmark, subject and number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.columns import MEASURED
from analysis.table import ScalingTable

CURVE, SAMPLES, SUBJECT, MODEL = "mapping_curve", "mapping_samples", "subject", "model"
EVERYONE = "all subjects"  # their mean
KEPT = ("benchmark", "region", "layer")  # of MEASURED, what stays
NO_CURVES = (
    "no score has a mapping_curve; score with `scoring: {mapping: {samples: [25, 50, 100, all], seeds: 3}}` on a "
    "benchmark whose units are known by subject, such as cowley2023"
)


def has_curves(table: ScalingTable) -> bool:
    """Whether any row says how it scores by fewer stimuli."""
    return CURVE in table.columns and bool(table.column(CURVE).notna().any())


def mapping_rows(table: ScalingTable) -> ScalingTable:
    """One row a run, benchmark, subject (and their mean, EVERYONE) and number of stimuli: the mean over their orders.

    Columns: those of the table that are of the run, benchmark, region, layer, subject, mapping_samples, score; model: a
    name that the seeds of a configuration share.

    Raises ValueError: no row has a curve, or one that cannot be read.
    """
    if not has_curves(table):
        raise ValueError(NO_CURVES)
    chosen = table.require(CURVE)
    named = chosen.with_columns(model=_names(chosen))
    kept = [name for name in named.columns if name in KEPT or name not in MEASURED]
    frame = named.frame
    points = [{"row": i, **point} for i, row in enumerate(frame.to_dict("records")) for point in _points(row)]
    means = pd.DataFrame(points).groupby(["row", SUBJECT, SAMPLES], as_index=False, sort=False)["score"].mean()
    whole = frame[kept].iloc[means.pop("row")].reset_index(drop=True)
    return ScalingTable.from_frame(pd.concat([whole, means], axis=1), where="the mapping curves")


def _points(row: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
    """Of one score: every number and order of its curve, and all stimuli where these are more."""
    curve = _read(row[CURVE], row)
    most = max((point[SAMPLES] for point in curve), default=0)
    for point in curve:
        yield from _of_subjects(point[SAMPLES], point["score"], point.get("subjects") or {})
    if row.get(SAMPLES) == row.get(SAMPLES) and (row.get(SAMPLES) or 0) > most:
        told = row.get("subject_scores")
        subjects = _read(told, row) if isinstance(told, str) else told or {}
        yield from _of_subjects(row[SAMPLES], row["score"], {name: one["score"] for name, one in subjects.items()})


def _of_subjects(n: float, score: float, subjects: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    yield {SUBJECT: EVERYONE, SAMPLES: float(n), "score": score}
    for name, own in subjects.items() if len(subjects) > 1 else ():
        yield {SUBJECT: name, SAMPLES: float(n), "score": own}


def _read(told: Any, row: Mapping[Any, Any]) -> Any:
    try:
        return json.loads(told) if isinstance(told, str) else told
    except ValueError as error:
        where = f"run_id={row.get('run_id')!r} on {row.get('benchmark')!r}"
        raise ValueError(f"{CURVE} of {where} is no JSON ({error}); score it again") from error


def _names(table: ScalingTable) -> pd.Series:
    """A name a configuration: 'resnet 14, n_samples 10000', or the label of a model that was trained elsewhere."""
    frame = table.frame
    if "label" in frame:
        return frame["label"].astype(str)
    said = [name for name in ("family", "size") if name in frame]
    varied = [name for name in ("depth", "n_samples", "epochs", "dataset", "objective") if name in frame]
    names = frame[said].astype(str).agg(" ".join, axis=1) if said else pd.Series("model", index=frame.index)
    for name in (name for name in varied if frame[name].nunique(dropna=False) > 1):
        names = names + ", " + name + " " + frame[name].map(_said)
    codes = pd.Series(table.clusters(), index=frame.index)
    order = codes.groupby(names).transform(lambda own: pd.factorize(own)[0])
    return names.where(order == 0, names + " #" + (order + 1).astype(str))


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
