"""Profiles: each parameter held away from its best value, everything else fitted again, and the loss compared.

An exponent is held at a third and at three times its value, the offset is moved by a quarter of the typical y. A
parameter whose profile stays flat is weak; an exponent that may as well be infinite, or whose term may as well be
absent, is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.fit.design import EXPONENT_LIMIT, Design
from analysis.fit.multistart import Task
from analysis.fit.squares import SquaresFit

LEVEL = 0.95  # of F: a parameter held elsewhere must raise the squares beyond it
EXPONENT_FACTOR = 3.0
OFFSET_SHARE = 0.25
SHAPE_STEP = np.log(4.0)


@dataclass(frozen=True)
class HeldParameter:
    """One point of a profile: parameters `where` held at `values`; `lost` marks a probe of non-identification."""

    name: str
    where: tuple[int, ...]
    values: tuple[float, ...]
    lost: str = ""


def profiles(fit: SquaresFit) -> tuple[tuple[str, ...], list[str]]:
    """Names of weak parameters, and reasons for which the fit is not identified."""
    from scipy.special import fdtri

    task = fit.task
    probes = _held(task, fit.theta)
    if not probes:
        return (), []
    start, lower, upper = (np.tile(a, (len(probes), 1)) for a in (fit.theta, task.lower, task.upper))
    for i, probe in enumerate(probes):
        for array in (start, lower, upper):
            array[i, list(probe.where)] = probe.values
    held = Task(task.design, task.log_y, task.delta, lower, upper)
    theta = held.solve(start, fit.weight[None], np.zeros(len(probes), dtype=np.int64)).theta
    limit = float(fdtri(1, fit.dof, LEVEL))
    flat = [probe for probe, held_theta in zip(probes, theta, strict=True) if fit.f_ratio(held_theta) < limit]
    lost = [p.lost for p in flat if p.lost]
    weak = {p.name for p in flat}
    names = _with_coefficients(task.design, weak)
    return tuple(n for n in task.design.names if n in names), lost


def _with_coefficients(design: Design, weak: set[str]) -> set[str]:
    """A coefficient in natural units is known no better than its exponent and its shape."""
    names = set(weak)
    for k, term in enumerate(design.form.terms):
        if names & {term.exponent, term.coordinate.shape}:
            names |= set(design.names[design.where(k)][: design.n_groups])
    return names


def _held(task: Task, best: Array) -> list[HeldParameter]:
    """Every point of every profile: offsets first, then term by term."""
    terms = task.design.form.terms
    return [
        *(_offsets(task, best) if terms else []),
        *(held for k in range(len(terms)) for held in _term(task, best, k)),
    ]


def _offsets(task: Task, best: Array) -> list[HeldParameter]:
    step = OFFSET_SHARE * np.median(np.exp(task.log_y))
    return [
        HeldParameter(task.design.names[g], (g,), (float(np.clip(best[g] + side * step, 0, task.upper[g])),))
        for g in range(task.design.n_groups)
        for side in (-1, 1)
        if task.lower[g] < task.upper[g] and not (side < 0 and best[g] <= task.lower[g])
    ]


def _term(task: Task, best: Array, k: int) -> list[HeldParameter]:
    term, w, G = task.design.form.terms[k], task.design.where(k), task.design.n_groups
    exponent, coefficients = (w.start + G,), tuple(range(w.start, w.start + G))
    values = (best[exponent[0]] / EXPONENT_FACTOR, best[exponent[0]] * EXPONENT_FACTOR)
    absent = f"term {k + 1} ({term.coefficient}, {term.exponent}) is not needed"
    held = [HeldParameter(term.exponent, exponent, (value,)) for value in values]
    held.append(HeldParameter(term.exponent, exponent, (EXPONENT_LIMIT,), f"{term.exponent} has no upper limit"))
    held.append(HeldParameter(term.exponent, coefficients, tuple(task.lower[list(coefficients)]), absent))
    if term.coordinate.shape:
        shape = w.stop - 1
        values = (best[shape] - SHAPE_STEP, best[shape] + SHAPE_STEP)
        inside = [value for value in values if task.lower[shape] < value < task.upper[shape]]
        held += [HeldParameter(term.coordinate.shape, (shape,), (value,)) for value in inside]
    return held
