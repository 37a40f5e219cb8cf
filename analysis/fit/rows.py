"""From the rows of a table to the numbers of a fit: axes, target, clusters, strata; what has no place is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import MISALIGNMENT, NUMERIC, Array, listed, measured, measured_name
from analysis.fit.design import Design
from analysis.fit.forms import Form, find_form
from analysis.fit.spec import FitSpec
from analysis.table import ScalingTable


@dataclass(frozen=True)
class Data:
    """The numbers of a fit: the design over the axes, targets y (n,), cluster and stratum codes (n,), the rows.

    errors: (n,) standard errors of ln y as the rows state them, 0 where they do not.
    """

    rows: ScalingTable
    design: Design
    y: Array
    clusters: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]
    errors: Array

    @property
    def form(self) -> Form:
        return self.design.form


def gather(rows: ScalingTable, spec: FitSpec) -> Data:
    """The numbers of a fit. Rows that lack an axis or the target, or have no logarithm of it, are counted.

    Raises ValueError where no row is left, or an axis does not vary.
    """
    rows = _complete(rows, spec)
    y: Array = measured(spec.target, rows.values(measured_name(spec.target)))
    X = [_axis(rows, name) for name in spec.axes]
    codes, groups = _codes(rows, spec.shared_by)
    design = Design(find_form(spec.form), X, codes, groups if spec.shared_by else ())
    strata, _ = _codes(rows, spec.strata)
    return Data(rows, design, y, _clusters(rows, spec), strata, _errors(rows, spec, y))


def _complete(rows: ScalingTable, spec: FitSpec) -> ScalingTable:
    """Rows that the law can take: axes above 0, a target above 0, and the columns that the spec names."""
    source = measured_name(spec.target)
    if spec.target == MISALIGNMENT and source not in rows.columns:
        raise ValueError(
            "the table has no column 'score', and target='misalignment' is 1 - score; name the column to fit, as "
            f"target='loss'; its columns: {listed(rows.columns)}"
        )
    needed = [*spec.axes, source, *(name for name in (spec.shared_by, spec.strata) if name)]
    rows = rows.require(*needed)
    for name in spec.axes:  # a model that saw no images has no place on a logarithmic axis
        rows = rows.where(rows.values(name) != 0, f"{name}=0 (untrained or pretrained)")
    if not len(rows):
        raise ValueError(f"no row has all of {needed}; left out: {dict(rows.left_out)}")
    kept = rows.where(np.isfinite(rows.values(source)), f"{source} infinite").positive(spec.target)
    if not len(kept):
        worst = measured(spec.target, rows.values(source)).max()
        raise ValueError(
            f"{spec.target}={worst:g} at most in all {len(rows)} rows must be above 0, as its logarithm is fitted; a "
            "score at its ceiling (1) has no misalignment left: select other rows or check the ceiling"
        )
    return kept


def _axis(rows: ScalingTable, name: str) -> Array:
    x = rows.values(name)
    bad = ~(x > 0) | ~np.isfinite(x)
    if bad.any():
        raise ValueError(
            f"{name}={x[bad][0]:g} in {int(bad.sum())} of {len(x)} rows must be above 0 and finite to be an axis of a "
            "law; correct the table or select other rows"
        )
    if len(np.unique(x)) < 2:
        unit = NUMERIC[name].unit if name in NUMERIC else "its unit"
        raise ValueError(
            f"{name} has one distinct value ({x[0]:g} {unit}) in {len(x)} rows; no law in {name} can be fitted"
        )
    return x


def _codes(rows: ScalingTable, name: str | None) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if name is None:
        return np.zeros(len(rows), dtype=np.int64), ("all",)
    values, codes = np.unique(rows.column(name).astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes.astype(np.int64), tuple(str(v) for v in values)


def _clusters(rows: ScalingTable, spec: FitSpec) -> npt.NDArray[np.int64]:
    if spec.cluster == "row":
        return np.arange(len(rows), dtype=np.int64)
    if spec.cluster == "configuration":
        return rows.clusters(spec.axes)
    if spec.cluster not in rows.columns:
        raise ValueError(
            f"cluster={spec.cluster!r} is neither 'configuration', 'row' nor a column: {listed(rows.columns)}"
        )
    return _codes(rows, spec.cluster)[0]


def _errors(rows: ScalingTable, spec: FitSpec, y: Array) -> Array:
    """Standard errors of ln y from `raw_error`, that of a score being raw_error / ceiling; 0 where there is none."""
    if spec.target != MISALIGNMENT or "raw_error" not in rows.columns:
        return np.zeros(len(y))
    ceiling = np.nan_to_num(rows.values("ceiling"), nan=1.0) if "ceiling" in rows.columns else 1.0
    return np.nan_to_num(rows.values("raw_error") / ceiling / y)


def ranges(spec: FitSpec, data: Data) -> dict[str, tuple[float, float]]:
    """Smallest and largest of every numeric column that a recipe may ask about, over the rows fitted."""
    names = {
        *spec.axes,
        *(n for n in ("flops", "n_params", "n_samples", "samples_seen", "epochs") if n in data.rows.columns),
    }
    found = {name: data.rows.values(name) for name in sorted(names)}
    return {n: (float(np.nanmin(v)), float(np.nanmax(v))) for n, v in found.items() if np.isfinite(v).any()}
