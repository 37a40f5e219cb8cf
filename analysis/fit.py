"""fit_law: rows of a table -> a fitted law with its uncertainty and a status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from analysis.columns import MISALIGNMENT, NUMERIC, listed, measured, measured_name
from analysis.forms import Array, Design, Form, find_form
from analysis.identify import Verdict, diagnose, enough_points
from analysis.law import Diagnostics, FittedLaw
from analysis.multistart import Task, solve_global, solve_resamples
from analysis.resample import bootstrap_weights, jackknife_weights
from analysis.solver import Minima
from analysis.table import ScalingTable

JACKKNIFE_GROUPS = 200  # clusters are left out one at a time up to this number, in this many groups beyond


class FitSpec(BaseModel):
    """What is fitted, and how.

    form: a name of `forms.FORMS`; axes: its x columns in order (default: the form's own); target: "misalignment"
    (1 - score) or any positive column, as "loss"; huber_delta: in ln units, None for least squares; bootstrap:
    number of draws; seed: of the draws; shared_by: a column (region, family) whose values have their own E and
    coefficients and share exponents; offset: E itself, or its limits (a score ceiling c is offset = 1 - c);
    cluster: "configuration", "row", or a column whose values are drawn whole; strata: a column drawn within.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: str = "power_law"
    axes: tuple[str, ...] = ()
    target: str = MISALIGNMENT
    huber_delta: float | None = Field(default=1e-3, gt=0)
    bootstrap: int = Field(default=1000, ge=0, le=100_000)
    seed: int = Field(default=0, ge=0)
    shared_by: str | None = None
    offset: float | tuple[float, float] | None = None
    cluster: str = "configuration"
    strata: str | None = None

    @field_validator("form")
    @classmethod
    def _known_form(cls, name: str) -> str:
        return find_form(name).name

    @model_validator(mode="after")
    def _axes_of_form(self) -> FitSpec:
        form = find_form(self.form)
        axes = self.axes or form.default_axes
        if len(axes) != form.n_axes and form.terms:
            raise ValueError(
                f"axes={list(axes)} has {len(axes)} columns, form {form.name!r} takes {form.n_axes}: "
                f"{form.formula}, as axes={list(form.default_axes)}"
            )
        object.__setattr__(self, "axes", tuple(axes))
        return self

    @property
    def offset_limits(self) -> tuple[float, float] | None:
        """Limits of E, or None where the data set them."""
        if self.offset is None or isinstance(self.offset, tuple):
            return self.offset
        return (self.offset, self.offset)


def fit_law(rows: ScalingTable, form: str = "power_law", axes: Sequence[str] | str = (), **options: Any) -> FittedLaw:
    """Fit a law to rows of a table: y = E + sum of power laws, Huber loss of ln(yhat) - ln(y), global minimum.

    rows: one row a model (average or select regions first, or give shared_by); form, axes, options: see FitSpec.
    Rows that lack an axis or the target are left out and counted in `law.rows.left_out`.
    Raises ValueError for what no fit can be made of (see the message); data that cannot support the law give a
    FittedLaw whose `status` and `reason` say so. Deterministic by seed.
    Source: Hoffmann et al. 2022, Approach 3; resampling as Davison & Hinkley 1997, ch. 3.8 (clusters).
    """
    spec = FitSpec(form=form, axes=(axes,) if isinstance(axes, str) else tuple(axes), **options)
    return fit_spec(rows, spec)


def fit_spec(rows: ScalingTable, spec: FitSpec) -> FittedLaw:
    """`fit_law` for a specification made elsewhere (a file, another law's `spec`)."""
    data = _gather(rows, spec)
    shortage = enough_points(data.design, data.clusters)
    if shortage is not None:
        return _unfitted(spec, data, shortage)
    task, weights = _task(spec, data), np.ones(len(data.y))
    optima = solve_global(task, weights)
    draws, left_out = _resampled(spec, data, task, optima)
    verdict = diagnose(task, optima, data.clusters)
    return _law(spec, data, optima, draws, left_out, verdict)


@dataclass(frozen=True)
class Data:
    """The numbers of a fit: the design over the axes, targets y (n,), cluster and stratum codes (n,), the rows."""

    rows: ScalingTable
    design: Design
    y: Array
    clusters: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]

    @property
    def form(self) -> Form:
        return self.design.form


def _gather(rows: ScalingTable, spec: FitSpec) -> Data:
    source = measured_name(spec.target)
    if spec.target == MISALIGNMENT and source not in rows.columns:
        raise ValueError(
            "the table has no column 'score', and target='misalignment' is 1 - score; name the column to fit, as "
            f"target='loss'; its columns: {listed(rows.columns)}"
        )
    extra = [name for name in (spec.shared_by, spec.strata) if name]
    rows = rows.require(*spec.axes, source, *extra)
    for name in spec.axes:  # a model that saw no images has no place on a logarithmic axis
        rows = rows.where(rows.values(name) != 0, f"{name}=0 (untrained or pretrained)")
    if not len(rows):
        raise ValueError(f"no row has all of {[*spec.axes, source, *extra]}; left out: {dict(rows.left_out)}")
    y = _target(rows, spec)
    X = [_axis(rows, name) for name in spec.axes]
    codes, groups = _codes(rows, spec.shared_by)
    design = Design(find_form(spec.form), X, codes, groups if spec.shared_by else ())
    strata, _ = _codes(rows, spec.strata)
    return Data(rows, design, y, _clusters(rows, spec), strata)


def _target(rows: ScalingTable, spec: FitSpec) -> Array:
    """y > 0: 1 - score, or the column named."""
    y: Array = measured(spec.target, rows.values(measured_name(spec.target)))
    bad = ~(y > 0) | ~np.isfinite(y)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{spec.target}={y[row]:g} in row {row} ({int(bad.sum())} such rows) must be above 0, as its logarithm is "
            "fitted; a score at its ceiling (1) has no misalignment left: select other rows or check the ceiling"
        )
    return y


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


def _task(spec: FitSpec, data: Data) -> Task:
    lower, upper = data.design.bounds(data.y, spec.offset_limits)
    delta = np.inf if spec.huber_delta is None else spec.huber_delta
    return Task(data.design, np.log(data.y), delta, lower, upper)


def _resampled(spec: FitSpec, data: Data, task: Task, optima: Minima) -> tuple[Array, Array]:
    """Natural parameters of the bootstrap draws (B, p) and of the jackknife (G, p); empty without bootstrap."""
    p = data.design.n_params
    if not spec.bootstrap:
        return np.empty((0, p)), np.empty((0, p))
    weights = bootstrap_weights(data.clusters, data.strata, spec.bootstrap, spec.seed)
    groups = data.clusters % JACKKNIFE_GROUPS
    weights = np.concatenate([weights, jackknife_weights(np.unique(groups, return_inverse=True)[1])])
    natural = data.design.natural(solve_resamples(task, weights, optima).theta)
    return natural[: spec.bootstrap], natural[spec.bootstrap :]


def _ranges(spec: FitSpec, data: Data) -> dict[str, tuple[float, float]]:
    """Smallest and largest of every numeric column that a recipe may ask about, over the rows fitted."""
    names = {
        *spec.axes,
        *(n for n in ("flops", "n_params", "n_samples", "samples_seen", "epochs") if n in data.rows.columns),
    }
    found = {name: data.rows.values(name) for name in sorted(names)}
    return {n: (float(np.nanmin(v)), float(np.nanmax(v))) for n, v in found.items() if np.isfinite(v).any()}


def _unfitted(spec: FitSpec, data: Data, reason: str) -> FittedLaw:
    names, nothing = data.design.names, np.empty((0, data.design.n_params))
    verdict = Verdict("too few points", reason, names, {})
    diagnostics = Diagnostics(np.nan, np.nan, np.nan, np.nan, {})
    return FittedLaw(spec, names, np.full(len(names), np.nan), nothing, nothing, verdict, diagnostics, data.rows,
                     data.y, _ranges(spec, data), int(data.clusters.max()) + 1, data.design.groups)  # fmt: skip


def _law(spec: FitSpec, data: Data, optima: Minima, draws: Array, left_out: Array, verdict: Verdict) -> FittedLaw:
    design, best = data.design, optima.theta[:1]
    residual = np.log(design.predict(best)[0]) - np.log(data.y)
    diagnostics = Diagnostics(
        float(optima.loss[0]), float(np.median(np.abs(residual))), verdict.numbers["aicc"],
        verdict.numbers["aicc_constant"], verdict.numbers,
    )  # fmt: skip
    return FittedLaw(spec, design.names, design.natural(best)[0], draws, left_out, verdict, diagnostics, data.rows,
                     data.y, _ranges(spec, data), int(data.clusters.max()) + 1, design.groups)  # fmt: skip
