"""What the data say about a fit: enough points, better than a constant, each parameter pinned down or not.

A parameter is judged by its profile (see `profiles`): everything else is fitted again, and the loss must rise beyond
the 95 % limit of a likelihood ratio. A parameter whose profile stays flat is weakly identified; an exponent that may
as well be infinite, or whose term may as well be absent, is not identified.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.criteria import criteria
from analysis.fit.design import Design
from analysis.fit.multistart import SCREEN_POINTS, Task
from analysis.fit.profiles import profiles
from analysis.fit.solver import Minima
from analysis.fit.status import Verdict, flat

SPARE_POINTS = 2  # assumption: configurations beyond the number of parameters that a fit needs at least
NULL_MARGIN = 6.0  # by how much AICc must beat the constant; calibrated on noise, see tests/analysis/test_identify.py
HUGE = 1e30  # a coefficient beyond this is a trade-off between parameters, not a measurement


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
    numbers = criteria(task, best, clusters)
    names = task.design.names
    if task.design.form.terms and numbers["aicc_constant"] - numbers["aicc"] < NULL_MARGIN:
        gap = numbers["aicc_constant"] - numbers["aicc"]
        return Verdict(
            "no scaling", f"a constant does as well (AICc {gap:+.1f}, {NULL_MARGIN:g} asked){_rising(task)}",
            names, numbers,
        )  # fmt: skip
    weak, lost = profiles(task, best, clusters)
    natural = dict(zip(names, task.design.natural(best[None])[0], strict=True))
    lost += [f"{n} = {v:.0e}" for n, v in natural.items() if not abs(v) < HUGE]
    if lost:
        return Verdict("not identified", "; ".join(lost), weak, numbers)
    if weak:
        return Verdict("weakly identified", flat(weak), weak, numbers)
    return Verdict("ok", "", (), numbers)


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
