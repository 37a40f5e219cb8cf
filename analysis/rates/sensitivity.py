"""What rates matter: the cost of mistuning by a factor of 2, and whether exponents survive one rate for all sizes.

One rate for all is the geometric mean of the best rates of the smallest size. Of cells that were all searched, the law
L = E + A N^-alpha + B D^-beta of the validation loss is fitted twice, over the same cells: to the loss at each cell's
best rate, and to its loss at the one rate, which is read between the finished trials beside it, or off the cell's
parabola within a factor WINDOW of its best. Where either law's form is not known, exponents are those of the regression
ln L = a - alpha ln N - beta ln D: averages over the measured range, with E in them. How much an exponent changes is
told more sharply by the same cells' ratios, ln (L_one / L_tuned) regressed likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from analysis.fit.fit import fit_law
from analysis.fit.law import FittedLaw
from analysis.fit.trend import Change
from analysis.rates.parabola import WINDOW
from analysis.rates.report import Exponent, Exponents, FoundCell, GridCell, RateReport, SearchedCell, Sensitivity
from analysis.table import ScalingTable

BOOTSTRAP = 300
AXES = {"n_params": "alpha", "samples_seen": "beta"}


def measure_sensitivity(report: RateReport) -> tuple[Sensitivity, ...]:
    """Of every group of a report."""
    groups = dict.fromkeys(cell.group for cell in report.searched)
    return tuple(_of_group(report, group) for group in groups)


def _of_group(report: RateReport, group: str) -> Sensitivity:
    own = [(c, f) for c, f in zip(report.searched, report.found, strict=True) if c.group == group and f.usable]
    curved = [found for _, found in own if found.cost is not None]
    if not own:
        return Sensitivity(group=group)
    rate = _one_rate(own)
    costs = [found.cost for found in curved if found.cost is not None]
    told = Sensitivity(group=group, rate=rate, cost=median(costs) if costs else None, n_cells=len(costs))
    if report.how == "each":
        return told.model_copy(update={"exponents": _exponents(own, rate)})
    return told.model_copy(update=_worst([cell for cell in report.grid if cell.group == group], curved, rate))


def _one_rate(own: Sequence[tuple[SearchedCell, FoundCell]]) -> float:
    smallest = min(cell.n_params for cell, _ in own)
    return math.exp(float(np.mean([math.log(found.rate) for cell, found in own if cell.n_params == smallest])))


def _worst(grid: Sequence[GridCell], curved: Sequence[FoundCell], rate: float) -> dict[str, str | float]:
    """Which cell of the grid would lose most at the one rate, by the median curvature, and what share of its loss."""
    if not curved or not grid:
        return {}
    c = median(found.curvature for found in curved if found.curvature is not None)
    lost = {cell.label: math.expm1(c * math.log(cell.fields["lr"] / rate) ** 2) for cell in grid}
    worst = max(lost, key=lambda label: lost[label])
    return {"worst": worst, "worst_cost": lost[worst]}


def _exponents(own: Sequence[tuple[SearchedCell, FoundCell]], rate: float) -> Exponents | None:
    read = {cell.key: loss_at(cell, found, math.log(rate)) for cell, found in own}
    cells = [(cell, found, loss) for cell, found in own if (loss := read[cell.key]) is not None]
    lost = tuple(cell.label for cell, _ in own if read[cell.key] is None)
    tuned = _law([(cell, found.loss) for cell, found, _ in cells])
    one = _law([(cell, loss) for cell, _, loss in cells])
    if isinstance(tuned, str) or isinstance(one, str):
        return Exponents(n_cells=len(cells), left_out=lost, reason=str(tuned if isinstance(tuned, str) else one))
    known = tuned.usable and one.usable
    read_off = _fitted if known else _average
    return Exponents(
        n_cells=len(cells), left_out=lost, averages=not known, tuned=read_off(tuned), one=read_off(one),
        change=_average(_law([(cell, loss / found.loss) for cell, found, loss in cells])),
    )  # fmt: skip


def loss_at(cell: SearchedCell, found: FoundCell, log_rate: float) -> float | None:
    """A cell's loss at another rate; None where neither trials nor parabola tell it."""
    x, y = cell.logs()
    order = np.argsort(x)
    x, y = x[order], y[order]
    above = int(np.searchsorted(x, log_rate))
    beside = [i for i in (above - 1, above) if 0 <= i < len(x)]
    if len(beside) == 2 and np.isfinite(y[beside]).all():
        return float(math.exp(np.interp(log_rate, x[beside], y[beside])))
    away = log_rate - math.log(found.rate)
    if found.curvature is None or abs(away) > math.log(WINDOW):
        return None
    return found.loss * math.exp(found.curvature * away**2)


def _law(cells: Sequence[tuple[SearchedCell, float]]) -> FittedLaw | str:
    import pandas as pd

    frame = pd.DataFrame([
        {"n_params": cell.n_params, "samples_seen": cell.samples_seen, "loss": loss, "family": cell.group}
        for cell, loss in cells
    ])  # fmt: skip
    try:
        return fit_law(
            ScalingTable.from_frame(frame), "chinchilla", tuple(AXES), target="loss", bootstrap=BOOTSTRAP, cluster="row"
        )
    except ValueError as error:  # rows that no law can be asked of
        return str(error)


def _fitted(law: FittedLaw) -> dict[str, Exponent]:
    return {name: Exponent(value=law.params[name], interval=law.interval(name)) for name in AXES.values()}


def _average(law: FittedLaw | str) -> dict[str, Exponent]:
    """Slopes of the regression of ln L, which every law asks first."""
    if isinstance(law, str):
        return {}
    trend = law.trends[""] if "" in law.trends else next(iter(law.trends.values()))
    return {AXES[axis.name]: _slope(axis) for axis in trend.axes if axis.known and axis.factor > 1}


def _slope(axis: Change) -> Exponent:
    span = math.log(axis.factor)
    low, high = axis.interval(0.95)
    return Exponent(value=-axis.value / span, interval=(-high / span, -low / span))
