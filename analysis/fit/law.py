"""FittedLaw: parameters in natural units, their uncertainty, the status, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.columns import MISALIGNMENT, Array
from analysis.fit.forms import evaluate_form, find_form
from analysis.fit.inside import Inside
from analysis.fit.resample import HALVED, bca_interval, stretch_of, stretched
from analysis.fit.spec import FitSpec
from analysis.fit.status import USABLE, Status, Verdict, no_numbers, open_along
from analysis.fit.trend import Trend
from analysis.fit.words import quantity_of, trend_sentence
from analysis.table import ScalingTable


@dataclass(frozen=True)
class Diagnostics:
    """huber_loss: the sum minimized; median_error: median |ln yhat - ln y|; Akaike's corrected criterion."""

    huber_loss: float
    median_error: float
    aicc: float


@dataclass(frozen=True)
class Resampled:
    """Natural parameters of bootstrap draws (B, p) and of the jackknife (G, p)."""

    draws: Array
    left_out: Array

    @classmethod
    def none(cls, n_params: int) -> Resampled:
        return cls(np.empty((0, n_params)), np.empty((0, n_params)))


@dataclass(frozen=True)
class FittedLaw:
    """A law fitted to rows of a table.

    spec: what was asked; names: parameters in order; estimate: (p,) natural units; resampled: draws and jackknife, of
    a usable law alone; verdict: status and reason; rows, y: what was asked about; ranges: of each axis;
    n_configurations: independent ones; groups: with exponents shared over them; trends: whether y falls, by group (""
    without groups); excluded: groups that do not share, and why; inside: predictions inside the range of a law that is
    not identified.
    """

    spec: FitSpec
    names: tuple[str, ...]
    estimate: Array
    resampled: Resampled
    verdict: Verdict
    diagnostics: Diagnostics
    rows: ScalingTable
    y: Array
    ranges: Mapping[str, tuple[float, float]]
    n_configurations: int
    groups: tuple[str, ...] = ()
    trends: Mapping[str, Trend] = field(default_factory=dict)
    excluded: Mapping[str, Verdict] = field(default_factory=dict)
    inside: Inside | None = None

    @property
    def draws(self) -> Array:
        """(B, p) bootstrap draws."""
        return self.resampled.draws

    @property
    def left_out(self) -> Array:
        """(G, p) jackknife values."""
        return self.resampled.left_out

    @property
    def quantity(self) -> str:
        """What falls: misalignment, error, or the target's name."""
        return quantity_of(self.rows, self.spec)

    def trend_text(self, group: str = "") -> str:
        """The trend as a sentence with numbers."""
        return trend_sentence(self.trends[group], self.quantity) if group in self.trends else ""

    @property
    def params(self) -> dict[str, float]:
        """Parameters in natural units, exponents positive."""
        return {name: float(value) for name, value in zip(self.names, self.estimate, strict=True)}

    @property
    def status(self) -> Status:
        return self.verdict.status

    @property
    def reason(self) -> str:
        return self.verdict.reason

    def verdict_of(self, group: str = "") -> Verdict:
        """The verdict on one group: its own where it does not share, else of its own parameters and the shared."""
        if group in self.excluded:
            return self.excluded[group]
        if self.status != "weakly identified" or not self.groups:
            return self.verdict
        weak = tuple(n for n in self.verdict.weak if "[" not in n or n.endswith(f"[{group}]"))
        if not weak:
            return replace(self.verdict, status="ok", reason="", weak=())
        return replace(self.verdict, reason=open_along([n.partition("[")[0] for n in weak]), weak=weak)

    @property
    def usable(self) -> bool:
        """Whether predictions and recipes may be drawn from it."""
        return self.status in USABLE

    @property
    def huber_loss(self) -> float:
        """Sum over points of the Huber loss of ln(prediction) - ln(y)."""
        return self.diagnostics.huber_loss

    @property
    def axes(self) -> tuple[str, ...]:
        return self.spec.axes

    @property
    def n_points(self) -> int:
        return len(self.y)

    @property
    def formula(self) -> str:
        return find_form(self.spec.form).formula

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of a parameter; needs a fit with bootstrap > 0.

        BCa with its median correction halved, whose coverage is nearest to nominal: see `bca_interval`.
        """
        if name not in self.names:
            raise ValueError(f"the law has no parameter {name!r}; it has {', '.join(self.names)}")
        if not 0 < level < 1:
            raise ValueError(f"level={level} must lie between 0 and 1, as 0.95")
        if not len(self.draws):
            reason = "fit with bootstrap=1000" if self.usable else no_numbers(self.status, self.reason)
            raise ValueError(f"no interval without draws; {reason}")
        i = self.names.index(name)
        low, high = bca_interval(self.draws[:, i], self.estimate[i], self.left_out[:, i], level, HALVED)
        return stretched(float(self.estimate[i]), low, high, self.stretch)

    @property
    def stretch(self) -> float:
        """By how much intervals of draws are stretched, see `resample.stretch_of`."""
        return stretch_of(self.n_configurations, len(self.names))

    def draws_of(self) -> dict[str, Array]:
        """Bootstrap draws by parameter name, as columns (B, 1)."""
        return {name: self.draws[:, [i]] for i, name in enumerate(self.names)}

    def predict(self, group: str = "", **axes: Any) -> Array:
        """The law's y (misalignment 1 - score, or the target fitted) at axes given by name, natural units."""
        return evaluate_form(find_form(self.spec.form), self.params, self._ordered(axes), self._group(group))

    def predict_score(self, group: str = "", **axes: Any) -> Array:
        """1 - predict: the score; a law of another target, as a loss, has none."""
        if self.spec.target != MISALIGNMENT:
            raise ValueError(f"the law is fitted to target={self.spec.target!r}, which gives no score; use predict")
        return 1.0 - self.predict(group, **axes)

    def predict_draws(self, group: str = "", **axes: Any) -> Array:
        """y of every bootstrap draw: (B, m) for axes of m points."""
        X = [np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in self._ordered(axes)]
        return evaluate_form(find_form(self.spec.form), self.draws_of(), X, self._group(group))

    def band(self, level: float = 0.95, group: str = "", **axes: Any) -> tuple[Array, Array]:
        """Percentile band (m,), (m,) of y at axes of m points, stretched as intervals are."""
        tail, centre = (1 - level) / 2, np.log(self.predict(group, **axes))
        ends = np.log(np.quantile(self.predict_draws(group, **axes), [tail, 1 - tail], axis=0))
        low, high = np.exp(centre + self.stretch * (ends - centre))
        return low, high

    def _ordered(self, axes: Mapping[str, Any]) -> list[Any]:
        if set(axes) != set(self.axes):
            raise ValueError(f"the law's axes are {list(self.axes)}, given were {sorted(axes)}")
        return [axes[name] for name in self.axes]

    def _group(self, group: str) -> str:
        if self.groups and group not in self.groups:
            raise ValueError(f"group={group!r}; the law holds {', '.join(self.groups)}")
        return group if self.groups else ""

    def residuals(self) -> Array:
        """ln(prediction) - ln(y) of each row (n,); none (NaN) where the row's group does not share the law."""
        X: dict[str, Any] = {name: self.rows.values(name) for name in self.axes}
        if not self.groups:
            return np.log(self.predict(**X)) - np.log(self.y)
        member = self.rows.column(str(self.spec.shared_by)).astype(str).to_numpy()
        out = np.full(len(self.y), np.nan)
        for group in self.groups:
            rows = member == group
            out[rows] = np.log(self.predict(group, **{k: v[rows] for k, v in X.items()})) - np.log(self.y[rows])
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: spec, parameters, intervals, status, diagnostics; null for what is not finite."""
        intervals = {n: [finite(v) for v in self.interval(n)] for n in self.names} if len(self.draws) else {}
        numbers = {n: finite(getattr(self.diagnostics, n))
                   for n in ("huber_loss", "median_error", "aicc")}  # fmt: skip
        shown = self.params if self.usable else {}
        return {
            "spec": self.spec.model_dump(mode="json"), "formula": self.formula,
            "trends": {g: trend.to_dict(self.quantity) for g, trend in self.trends.items()},
            "params": {n: finite(v) for n, v in shown.items()}, "intervals_95": intervals,
            "status": self.status, "reason": self.reason, "weak": list(self.verdict.weak), **numbers,
            "excluded": {group: {"status": v.status, "reason": v.reason} for group, v in self.excluded.items()},
            "n_points": self.n_points, "n_configurations": self.n_configurations,
            "ranges": {k: list(v) for k, v in self.ranges.items()}, "left_out": dict(self.rows.left_out),
        }  # fmt: skip

    def text(self) -> str:
        """A table for a terminal: the trend, the status, and each parameter of a usable law with its interval."""
        lines = [f"{self.formula}   axes: {', '.join(self.axes)}   y: {self.spec.target}"]
        lines += [f"  {group + ': ' if group else ''}{self.trend_text(group)}" for group in self.trends]
        lines += [f"  {group}: no form, {v.status}: {v.reason}" for group, v in self.excluded.items()]
        for name, value in self.params.items() if self.usable else ():
            span = "  [{:.4g}, {:.4g}]".format(*self.interval(name)) if len(self.draws) else ""
            lines.append(f"  {name:<12}{value:>12.5g}{span}{'   weak' if name in self.verdict.weak else ''}")
        lines.append(
            f"  {self.n_points} rows, {self.n_configurations} configurations, Huber loss {self.huber_loss:.6g}"
        )
        said = self.reason if self.reason != self.trend_text() else ""
        lines.append(f"  status: {self.status}{': ' + said if said else ''}")
        lines += [f"  left out: {n} rows, {reason}" for reason, n in self.rows.left_out.items()]
        return "\n".join(lines)


def finite(value: float) -> float | None:
    """The value, or None where it is infinite or none: JSON knows neither."""
    return float(value) if np.isfinite(value) else None
