"""fit_law: rows of a table -> a fitted law with its uncertainty and a status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.columns import Array
from analysis.fit.criteria import aicc_of
from analysis.fit.groups import Asked, ask
from analysis.fit.identify import judge_form
from analysis.fit.inside import Inside, inside_fit
from analysis.fit.law import Diagnostics, FittedLaw, Resampled
from analysis.fit.multistart import Task, solve_global, solve_resamples
from analysis.fit.resample import bootstrap_weights, jackknife_weights
from analysis.fit.rows import Data, gather, ranges
from analysis.fit.solver import Minima
from analysis.fit.spec import FitSpec
from analysis.fit.squares import SquaresFit, fit_squares
from analysis.fit.status import USABLE, Verdict
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
    return fit_with_squares(rows, spec)[0]


def fit_with_squares(rows: ScalingTable, spec: FitSpec) -> tuple[FittedLaw, SquaresFit | None]:
    """`fit_spec`, and the squares fit that its status rests on; None where none was asked for."""
    asked = ask(rows, spec)
    data = asked.data
    if asked.verdict is not None and asked.verdict.status == "too few points":
        return law_of(spec, asked, _unfitted(data, asked.verdict)), None
    task, weights = _task(spec, data), asked.row_weights()
    optima = solve_global(task, weights)
    estimate, diagnostics = data.design.natural(optima.theta[:1])[0], _diagnostics(task, optima, data)
    if asked.verdict is not None:  # it does not fall: the curve may be looked at, and no more
        return law_of(spec, asked, Found(estimate, asked.verdict, diagnostics, Resampled.none(len(estimate)))), None
    squares = fit_squares(task, optima.theta, asked.cells)
    verdict = judge_form(squares, optima.theta[0], spec.axes)
    usable, lost = verdict.status in USABLE, verdict.status == "not identified"
    resampled = _resampled(spec, data, task, optima, weights) if usable else Resampled.none(len(estimate))
    found = Found(estimate, verdict, diagnostics, resampled, inside_fit(squares) if lost else None)
    return law_of(spec, asked, found), squares


def fit_criterion(rows: ScalingTable, spec: FitSpec) -> float:
    """Akaike's corrected criterion of the best curve through the rows; nothing else is asked of it."""
    data = gather(rows, spec)
    task = _task(spec, data)
    return _diagnostics(task, solve_global(task, np.ones(len(data.y))), data).aicc


@dataclass(frozen=True)
class Found:
    """What a fit found, without the rows: what is saved of it."""

    estimate: Array
    verdict: Verdict
    diagnostics: Diagnostics
    resampled: Resampled
    inside: Inside | None = None


def _unfitted(data: Data, verdict: Verdict) -> Found:
    p = data.design.n_params
    return Found(np.full(p, np.nan), verdict, Diagnostics(np.nan, np.nan, np.nan), Resampled.none(p))


def law_of(spec: FitSpec, asked: Asked, found: Found) -> FittedLaw:
    """What was found, as a law over its rows."""
    design, whole = asked.data.design, asked.whole
    return FittedLaw(
        spec, design.names, found.estimate, found.resampled, found.verdict, found.diagnostics, whole.rows, whole.y,
        ranges(spec, whole), len(np.unique(asked.data.clusters)), design.groups, asked.trends, asked.excluded,
        found.inside,
    )  # fmt: skip


def _task(spec: FitSpec, data: Data) -> Task:
    lower, upper = data.design.bounds(data.y, spec.offset_limits)
    delta = np.inf if spec.huber_delta is None else spec.huber_delta
    return Task(data.design, np.log(data.y), delta, lower, upper)


def _resampled(spec: FitSpec, data: Data, task: Task, optima: Minima, weights: Array) -> Resampled:
    """Natural parameters of the bootstrap draws and of the jackknife; empty without bootstrap."""
    if not spec.bootstrap:
        return Resampled.none(data.design.n_params)
    drawn = bootstrap_weights(data.clusters, data.strata, spec.bootstrap, spec.seed)
    groups = data.clusters % JACKKNIFE_GROUPS
    left_out = jackknife_weights(np.unique(groups, return_inverse=True)[1])
    drawn = np.concatenate([drawn, left_out])
    found = solve_resamples(task, drawn * weights, optima, close=len(left_out))
    natural = data.design.natural(found.theta)
    return Resampled(natural[: spec.bootstrap], natural[spec.bootstrap :])


def _diagnostics(task: Task, optima: Minima, data: Data) -> Diagnostics:
    residual = np.log(data.design.predict(optima.theta[:1])[0]) - np.log(data.y)
    aicc = aicc_of(residual, task.delta, len(np.unique(data.clusters)), data.design.n_params)
    return Diagnostics(float(optima.loss[0]), float(np.median(np.abs(residual))), aicc)
