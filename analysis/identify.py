"""What the data say about a fit: enough points, better than a constant, each parameter pinned down or not.

A parameter is judged by its profile: an exponent is held at a third and at three times its value, the offset is moved
by a quarter of the typical y, everything else is fitted again, and the loss must rise beyond the 95 % limit of a
likelihood ratio. A parameter whose profile stays flat is weakly identified; an exponent that may as well be
infinite, or whose term may as well be absent, is not identified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.forms import EXPONENT_LIMIT, Array, Design
from analysis.multistart import SCREEN_POINTS, Task
from analysis.solver import Minima

Status = Literal["ok", "weakly identified", "not identified", "too few points", "no scaling"]
USABLE: tuple[Status, ...] = ("ok", "weakly identified")

SPARE_POINTS = 2  # assumption: configurations beyond the number of parameters that a fit needs at least
CHI2_95 = 3.84  # 95 % point of chi-square, one degree of freedom
DENSITY = 1.27  # 4 f(0) mean|r| for normal residuals: likelihood ratio of least absolute values (Koenker 2005, 3.5)
NULL_MARGIN = 6.0  # by how much AICc must beat the constant; calibrated on noise, see tests/analysis/test_identify.py
EXPONENT_FACTOR = 3.0
OFFSET_SHARE = 0.25
SHAPE_STEP = np.log(4.0)
HUGE = 1e30  # a coefficient beyond this is a trade-off between parameters, not a measurement


@dataclass(frozen=True)
class Verdict:
    """status, its reason in words, the parameters that are weak, and the numbers behind it."""

    status: Status
    reason: str
    weak: tuple[str, ...]
    numbers: Mapping[str, float]


def enough_points(design: Design, clusters: npt.NDArray[np.int64]) -> str | None:
    """Why there are too few configurations or distinct x for the form; None where there are enough."""
    needed, there = design.n_params + SPARE_POINTS, int(clusters.max()) + 1
    if there < needed:
        return (
            f"{there} configurations; {design.form.name} has {design.n_params} parameters and needs {needed} at least"
        )
    for k, term in enumerate(design.form.terms):
        x = np.column_stack([design.X[i] for i in term.axes])
        distinct, wanted = len(np.unique(x, axis=0)), 3 + (len(design.form.terms) == 1)
        if distinct < wanted:
            return f"{distinct} distinct x for term {k + 1} of {design.form.formula}; needs {wanted} at least"
    return None


def diagnose(task: Task, optima: Minima, clusters: npt.NDArray[np.int64]) -> Verdict:
    """Status of the best optimum of a fit; see the module for the rules."""
    task, best, clusters = _thinned(task, optima.theta[0], clusters)
    numbers = _criteria(task, best, clusters)
    names = task.design.names
    if task.design.form.terms and numbers["aicc_constant"] - numbers["aicc"] < NULL_MARGIN:
        gap = numbers["aicc_constant"] - numbers["aicc"]
        return Verdict(
            "no scaling", f"a constant does as well (AICc {gap:+.1f}, {NULL_MARGIN:g} asked){_rising(task)}",
            names, numbers,
        )  # fmt: skip
    weak, lost = _profiles(task, best, clusters)
    natural = dict(zip(names, task.design.natural(best[None])[0], strict=True))
    lost += [f"{n} = {v:.0e}" for n, v in natural.items() if not abs(v) < HUGE]
    if lost:
        return Verdict("not identified", "; ".join(lost), weak, numbers)
    if weak:
        return Verdict("weakly identified", flat(weak), weak, numbers)
    return Verdict("ok", "", (), numbers)


def flat(weak: Sequence[str]) -> str:
    """Why parameters are weakly identified."""
    return f"the loss stays flat along {', '.join(weak)}"


def _rising(task: Task) -> str:
    """The remedy where y rises along every axis, as an accuracy does; laws fall."""
    rises = [np.corrcoef(task.log_y, np.log(x))[0, 1] > 0.5 for x in task.design.X] if np.ptp(task.log_y) > 0 else []
    return "; y rises with x, and laws fall: fit what falls, as 1 - accuracy" if rises and all(rises) else ""


def _thinned(task: Task, best: Array, clusters: npt.NDArray[np.int64]) -> tuple[Task, Array, npt.NDArray[np.int64]]:
    """The task on at most SCREEN_POINTS rows, refitted there: what is flat on them is judged on them."""
    n = len(task.log_y)
    if n <= SCREEN_POINTS:
        return task, best, clusters
    rows = np.linspace(0, n - 1, SCREEN_POINTS).astype(np.int64)
    part = task.subset(rows)
    best = part.solve(best[None], np.ones((1, len(rows)))).theta[0]
    return part, best, np.unique(clusters[rows], return_inverse=True)[1].astype(np.int64)


def _residuals(task: Task, theta: Array) -> Array:
    return np.log(task.design.predict(theta[None])[0]) - task.log_y


def log_likelihood_scale(r: Array, delta: float, n: int) -> float:
    """-2 ln L up to a constant, scale profiled out: Laplace where delta is below the residuals, else normal."""
    if delta < np.median(np.abs(r)):
        return 2 * n * float(np.log(np.mean(np.abs(r)) + 1e-300))
    return n * float(np.log(np.mean(r**2) + 1e-300))


def aicc(r: Array, delta: float, n: int, n_params: int) -> float:
    """Corrected Akaike criterion of residuals r, counting n independent configurations and the scale."""
    k = n_params + 1
    return log_likelihood_scale(r, delta, n) + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 1)


def _criteria(task: Task, best: Array, clusters: npt.NDArray[np.int64]) -> dict[str, float]:
    n = int(clusters.max()) + 1
    constant = _constant_residuals(task)
    r = _residuals(task, best)
    delta = task.delta if task.delta < np.median(np.abs(constant)) else np.inf
    return {
        "aicc": aicc(r, delta, n, task.design.n_params),
        "aicc_constant": aicc(constant, delta, n, task.design.n_groups),
    }


def _constant_residuals(task: Task) -> Array:
    """Residuals of the best constant (per group): the median of ln y, or its mean for squares."""
    centre = np.mean if np.isinf(task.delta) else np.median
    r = np.empty_like(task.log_y)
    for hot in task.design.one_hot.T:
        r[hot > 0] = centre(task.log_y[hot > 0]) - task.log_y[hot > 0]
    return r


@dataclass(frozen=True)
class Probe:
    """One point of a profile: parameters `where` held at `values`; `lost` marks a probe of non-identification."""

    name: str
    where: tuple[int, ...]
    values: tuple[float, ...]
    lost: str = ""


def _profiles(task: Task, best: Array, clusters: npt.NDArray[np.int64]) -> tuple[tuple[str, ...], list[str]]:
    """Names of weak parameters, and reasons for which the fit is not identified."""
    probes = _probes(task, best)
    if not probes:
        return (), []
    start, lower, upper = (np.tile(a, (len(probes), 1)) for a in (best, task.lower, task.upper))
    for i, probe in enumerate(probes):
        for array in (start, lower, upper):
            array[i, list(probe.where)] = probe.values
    held = Task(task.design, task.log_y, task.delta, lower, upper)
    theta = held.solve(start, np.ones((1, len(task.log_y))), np.zeros(len(probes), dtype=np.int64)).theta
    share = (int(clusters.max()) + 1) / len(clusters)
    flat = [p for p, t in zip(probes, theta, strict=True) if share * _ratio(task, best, t) < CHI2_95]
    lost = [p.lost for p in flat if p.lost]
    weak = {p.name for p in flat}
    names = _with_coefficients(task.design, weak)
    return tuple(n for n in task.design.names if n in names), lost


def _ratio(task: Task, best: Array, held: Array) -> float:
    """Likelihood-ratio statistic of a held parameter against the best fit."""
    r0, r1 = _residuals(task, best), _residuals(task, held)
    if task.delta < np.median(np.abs(r0)):
        return DENSITY * float((np.abs(r1).sum() - np.abs(r0).sum()) / (np.mean(np.abs(r0)) + 1e-300))
    return float((np.sum(r1**2) - np.sum(r0**2)) / (np.mean(r0**2) + 1e-300))


def _with_coefficients(design: Design, weak: set[str]) -> set[str]:
    """A coefficient in natural units is known no better than its exponent and its shape."""
    names = set(weak)
    for k, term in enumerate(design.form.terms):
        if names & {term.exponent, term.coordinate.shape}:
            names |= set(design.names[design.where(k)][: design.n_groups])
    return names


def _probes(task: Task, best: Array) -> list[Probe]:
    design, y, G = task.design, np.exp(task.log_y), task.design.n_groups
    probes = [
        Probe(design.names[g], (g,), (float(np.clip(best[g] + side * OFFSET_SHARE * np.median(y), 0, task.upper[g])),))
        for g in range(G)
        for side in (-1, 1)
        if design.form.terms and task.lower[g] < task.upper[g] and not (side < 0 and best[g] <= task.lower[g])
    ]
    for k, term in enumerate(design.form.terms):
        w = design.where(k)
        exponent, coefficients = w.start + G, tuple(range(w.start, w.start + G))
        values = (best[exponent] / EXPONENT_FACTOR, best[exponent] * EXPONENT_FACTOR)
        probes += [Probe(term.exponent, (exponent,), (v,)) for v in values]
        axis = f"term {k + 1} ({term.coefficient}, {term.exponent})"
        probes.append(Probe(term.exponent, (exponent,), (EXPONENT_LIMIT,), f"{term.exponent} has no upper limit"))
        probes.append(
            Probe(term.exponent, coefficients, tuple(task.lower[list(coefficients)]), f"{axis} is not needed")
        )
        if term.coordinate.shape:
            values = best[w.stop - 1] - SHAPE_STEP, best[w.stop - 1] + SHAPE_STEP
            inside = [v for v in values if task.lower[w.stop - 1] < v < task.upper[w.stop - 1]]
            probes += [Probe(term.coordinate.shape, (w.stop - 1,), (v,)) for v in inside]
    return probes
