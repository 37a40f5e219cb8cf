"""Does it scale? The change of y over the measured range, and whether its interval says that y falls, rises or is flat.

ln y of configuration means is regressed on ln x, each axis scaled to its measured range [0, 1]:

    ln y_g = a + sum_k b_k u_gk,    u_k = (ln x_k - ln min x_k) / (ln max x_k - ln min x_k)

so that b_k is the change of ln y along axis k and B = sum_k b_k the change from the cheapest to the dearest corner,
with t intervals on G - k - 1 degrees of freedom. y *falls* where the 95 % interval of B, or that of one b_k (Bonferroni
over the axes), lies below 0, *rises* where one lies above 0, and is *flat* where the 90 % intervals of B and of every
b_k lie within -+ `margin` (two one-sided tests of 5 %: Schuirmann 1987). Whatever is left is *undetermined*: that no
change was found is no finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from analysis.columns import Array
from analysis.fit.cells import Cells

Direction = Literal["falls", "rises", "mixed", "flat", "undetermined"]
LEVEL, FLAT_LEVEL = 0.95, 0.90
MARGIN = 0.05  # share of y within which a change counts as none, unless the study says otherwise
MOST_MORE = 1000  # configurations: more are not counted


@dataclass(frozen=True)
class Change:
    """Change of ln y over the measured range of an axis, or of all ("total"): estimate, standard error, dof."""

    name: str
    value: float
    error: float
    dof: int
    factor: float  # largest over smallest x

    def interval(self, level: float) -> tuple[float, float]:
        """t interval of the change of ln y."""
        reach = t_quantile(level, self.dof) * self.error
        return self.value - reach, self.value + reach

    def direction(self, level: float) -> int:
        """-1 or 1 where the interval leaves 0 out, else 0."""
        low, high = self.interval(level)
        return -1 if high < 0 else int(low > 0)

    def within(self, margin: float, level: float = FLAT_LEVEL) -> bool:
        """Whether the interval lies within the margin."""
        low, high = self.interval(level)
        return bool(np.log1p(-margin) <= low and high <= np.log1p(margin))

    def to_dict(self, level: float) -> dict[str, Any]:
        """The change as a share of y, its interval, and the factor of x over which it was measured; null if unknown."""
        low, high = self.interval(level) if self.known else (np.nan, np.nan)
        found = {"change": self.value, "low": low, "high": high}
        shares = {name: float(np.expm1(v)) if np.isfinite(v) else None for name, v in found.items()}
        return {**shares, "level": level, "dof": self.dof, "factor": self.factor}

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.error))


@dataclass(frozen=True)
class Trend:
    """What the regression says. reason: why there is none; more: configurations that would decide, beside the n there.

    total: the change over all axes; axes: along each.
    """

    direction: Direction
    total: Change
    axes: tuple[Change, ...]
    n: int
    margin: float = MARGIN
    reason: str = ""
    more: int | None = None

    def to_dict(self, quantity: str) -> dict[str, Any]:
        """Plain values for JSON: changes as shares of y (-0.64: falls by 64 %), with their intervals."""
        return {
            "quantity": quantity, "direction": self.direction, "reason": self.reason, "n_configurations": self.n,
            "total": self.total.to_dict(LEVEL), "axes": {c.name: c.to_dict(self.axis_level) for c in self.axes},
            "flat_within": self.margin, "more_configurations": self.more,
        }  # fmt: skip

    @property
    def axis_level(self) -> float:
        """Of the intervals of one axis: Bonferroni."""
        return 1 - (1 - LEVEL) / len(self.axes)

    def moving(self, sign: int) -> tuple[Change, ...]:
        """The axes along which y falls (-1) or rises (1)."""
        return tuple(c for c in self.axes if c.known and c.direction(self.axis_level) == sign)


def t_quantile(level: float, dof: float) -> float:
    """Two-sided quantile of Student's t."""
    from scipy.special import stdtrit  # here: a recipe that is loaded needs no SciPy

    return float(stdtrit(dof, (1 + level) / 2))


def find_trend(cells: Cells, names: Sequence[str], margin: float = MARGIN) -> Trend:
    """The trend of the cells' ln y along their k axes, called `names`; the cells of one group."""
    n, k, span = cells.n_configurations, len(names), np.ptp(cells.log_x, axis=0)
    u = (cells.log_x - cells.log_x.min(axis=0)) / np.where(span > 0, span, 1.0)
    factors, dof = [float(f) for f in np.exp(span)], n - k - 1
    if dof < 1:
        unknown = [Change(name, np.nan, np.inf, 1, factor) for name, factor in zip(names, factors, strict=True)]
        total = Change("total", np.nan, np.inf, 1, float(np.prod(factors)))
        reason = f"{n} configurations; a trend needs {k + 2} at least"
        return Trend("undetermined", total, tuple(unknown), n, margin, reason, k + 2 - n)
    fitted = _regression(cells, np.column_stack([np.ones(len(u)), u]), dof)
    axes = [fitted.change(name, np.r_[0, np.eye(k)[i]], factors[i]) for i, name in enumerate(names)]
    total = fitted.change("total", np.r_[0, np.ones(k)], float(np.prod(factors)))
    return _judged(Trend("undetermined", total, tuple(axes), n, margin))


def _judged(trend: Trend) -> Trend:
    """The trend with its direction, and how many more configurations would decide where it is undetermined."""
    falling, rising = trend.moving(-1), trend.moving(1)
    sign = trend.total.direction(LEVEL) if trend.total.known else 0
    if sign or bool(falling) != bool(rising):
        return replace(trend, direction="falls" if sign < 0 or (not sign and falling) else "rises")
    if falling:
        return replace(trend, direction="mixed")
    changes = (trend.total, *trend.axes)
    if all(change.known and change.within(trend.margin) for change in changes):
        return replace(trend, direction="flat")
    if not trend.total.known:
        lost = [change.name for change in trend.axes if not change.known]
        return replace(trend, reason=f"the configurations do not tell {' and '.join(lost)} apart")
    return replace(trend, more=_more(trend))


def _more(trend: Trend) -> int | None:
    """Configurations beyond those there, spread alike, that would decide if estimates stay; None: too many."""
    for n in np.unique(np.geomspace(trend.n + 1, trend.n + MOST_MORE, 200).astype(np.int64)).tolist():
        dof = trend.total.dof + n - trend.n
        changes = [replace(c, error=c.error * np.sqrt(trend.n / n), dof=dof) for c in (trend.total, *trend.axes)]
        moves = changes[0].direction(LEVEL) or any(c.known and c.direction(trend.axis_level) for c in changes[1:])
        if moves or all(c.known and c.within(trend.margin) for c in changes):
            return n - trend.n
    return None


@dataclass(frozen=True)
class _Regression:
    """beta (m,), covariance (m, m), the projector (m, m) onto what the configurations can tell, dof."""

    beta: Array
    cov: Array
    known: Array
    dof: int

    def change(self, name: str, contrast: Array, factor: float) -> Change:
        if not np.allclose(contrast @ self.known, contrast, atol=1e-6):
            return Change(name, np.nan, np.inf, self.dof, factor)
        error = max(float(contrast @ self.cov @ contrast), 0.0) ** 0.5
        return Change(name, float(contrast @ self.beta), error, self.dof, factor)


def _regression(cells: Cells, X: Array, dof: int) -> _Regression:
    """Ordinary squares over means of configurations.

    Where an axis varies within configurations alone (checkpoints of models that were trained alike): over cells, with
    the sandwich over configurations instead.
    """
    means = cells.summed(cells.weight[:, None] * X)
    if np.linalg.matrix_rank(means) == np.linalg.matrix_rank(X):
        y, precision = cells.summed(cells.weight[:, None] * np.column_stack([cells.log_y, cells.precision])).T
        return _squares(means, y, precision, dof)
    return _squares(X, cells.log_y, cells.weight * cells.precision, dof, cells)


def _squares(X: Array, y: Array, weight: Array, dof: int, clustered: Cells | None = None) -> _Regression:
    """Weighted squares; with cells, the sandwich over their configurations."""
    gram = (X * weight[:, None]).T @ X
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    beta = inverse @ (X.T @ (weight * y))
    residual = y - X @ beta
    if clustered is None:
        cov = inverse * float(weight * residual @ residual) / dof
    else:
        scores = clustered.summed((weight * residual)[:, None] * X)
        cov = inverse @ (scores.T @ scores) @ inverse * len(scores) / dof
    return _Regression(beta, cov, gram @ inverse, dof)
