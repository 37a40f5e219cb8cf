"""Is the form known? Enough points, no bend left over, each parameter pinned down or not.

Asked only of what falls (see `trend`). A parameter is judged by its profile (see `profiles`): everything else is fitted
again, and the squares of configuration means must rise beyond the 95 % limit of F. A parameter whose profile stays flat
is weakly identified; an exponent that may as well be infinite, or whose term may as well be absent, is not identified.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.design import Design
from analysis.fit.profiles import profiles
from analysis.fit.squares import SquaresFit, bends
from analysis.fit.status import Verdict, open_along

SPARE_POINTS = 2  # assumption: configurations beyond the number of parameters that a fit needs at least
HUGE = 1e30  # a coefficient beyond this is a trade-off between parameters, not a measurement


def enough_points(design: Design, clusters: npt.NDArray[np.int64]) -> str | None:
    """Why there are too few configurations or distinct x for the form; None where there are enough."""
    needed, there = design.n_params + SPARE_POINTS, len(np.unique(clusters))
    if there < needed:
        return (
            f"{there} configurations; {design.form.name} has {design.n_params} parameters and needs {needed} at least"
        )
    return _few_distinct(design, np.ones(len(clusters), dtype=bool))


def _few_distinct(design: Design, rows: npt.NDArray[np.bool_]) -> str | None:
    for k, term in enumerate(design.form.terms):
        x = np.column_stack([design.X[i][rows] for i in term.axes])
        distinct, wanted = len(np.unique(x, axis=0)), 3 + (len(design.form.terms) == 1)
        if distinct < wanted:
            return f"{distinct} distinct x for term {k + 1} of {design.form.formula}; needs {wanted} at least"
    return None


def enough_points_of_group(design: Design, clusters: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]) -> str | None:
    """Why a group is too small to share a form's exponents; None where it is not.

    It needs configurations for its own offset and coefficients, and as many distinct x for each term as a law alone.
    """
    needed, there = 1 + len(design.form.terms) + SPARE_POINTS, len(np.unique(clusters[rows]))
    if there < needed:
        return f"{there} configurations; its own parameters of {design.form.name} need {needed} at least"
    return _few_distinct(design, rows)


def judge_form(fit: SquaresFit, best: Array, axes: tuple[str, ...]) -> Verdict:
    """Status of a law whose y falls; see the module for the rules. best: (p,) of the Huber fit."""
    names = fit.task.design.names
    bent = [bend for bend in bends(fit) if bend.shows]
    if bent:
        worst = min(bent, key=lambda bend: bend.p)
        said = f"its residuals bend along {axes[worst.axis]} (p {worst.p:.1g}, {worst.share:.0%} of their squares)"
        return Verdict("misfits", said, names)
    weak, lost = profiles(fit)
    natural = dict(zip(names, fit.task.design.natural(best[None])[0], strict=True))
    lost += [f"{n} = {v:.0e}" for n, v in natural.items() if not abs(v) < HUGE]
    if lost:
        return Verdict("not identified", "; ".join(lost), weak)
    if weak:
        return Verdict("weakly identified", open_along(weak), weak)
    return Verdict("ok", "", ())
