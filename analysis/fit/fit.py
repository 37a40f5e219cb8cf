"""fit_law: rows of a table -> a fitted law with its uncertainty and a status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.columns import Array
from analysis.fit.identify import diagnose, enough_points
from analysis.fit.law import Diagnostics, FittedLaw
from analysis.fit.multistart import Task, solve_global, solve_resamples
from analysis.fit.resample import bootstrap_weights, jackknife_weights
from analysis.fit.rows import Data, gather, ranges
from analysis.fit.solver import Minima
from analysis.fit.spec import FitSpec
from analysis.fit.status import Verdict
from analysis.table import ScalingTable

JACKKNIFE_GROUPS = 200  # clusters are left out one at a time up to this number, in this many groups beyond


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
    data = gather(rows, spec)
    shortage = enough_points(data.design, data.clusters)
    if shortage is not None:
        return _unfitted(spec, data, shortage)
    task, weights = _task(spec, data), np.ones(len(data.y))
    optima = solve_global(task, weights)
    draws, left_out = _resampled(spec, data, task, optima)
    verdict = diagnose(task, optima, data.clusters)
    return _law(spec, data, optima, draws, left_out, verdict)


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


def _unfitted(spec: FitSpec, data: Data, reason: str) -> FittedLaw:
    names, nothing = data.design.names, np.empty((0, data.design.n_params))
    verdict = Verdict("too few points", reason, names, {})
    diagnostics = Diagnostics(np.nan, np.nan, np.nan, np.nan)
    return FittedLaw(spec, names, np.full(len(names), np.nan), nothing, nothing, verdict, diagnostics, data.rows,
                     data.y, ranges(spec, data), int(data.clusters.max()) + 1, data.design.groups)  # fmt: skip


def _law(spec: FitSpec, data: Data, optima: Minima, draws: Array, left_out: Array, verdict: Verdict) -> FittedLaw:
    design, best = data.design, optima.theta[:1]
    residual = np.log(design.predict(best)[0]) - np.log(data.y)
    diagnostics = Diagnostics(
        float(optima.loss[0]), float(np.median(np.abs(residual))), verdict.numbers["aicc"],
        verdict.numbers["aicc_constant"],
    )  # fmt: skip
    return FittedLaw(spec, design.names, design.natural(best)[0], draws, left_out, verdict, diagnostics, data.rows,
                     data.y, ranges(spec, data), int(data.clusters.max()) + 1, design.groups)  # fmt: skip
