"""LawRecord: a fitted law as a recipe keeps it, without the rows it was fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from analysis.columns import MISALIGNMENT, Array, measured
from analysis.fit.estimate import Estimate, estimate
from analysis.fit.forms import evaluate_form, find_form
from analysis.fit.inside import Inside
from analysis.fit.status import USABLE, Status
from analysis.recipe.allocation import Measured
from analysis.recipe.tested import configurations

if TYPE_CHECKING:  # a recipe that is loaded needs no table
    from analysis.fit.law import FittedLaw

WIDEST = 10.0  # of a prediction inside the range: the interval's upper end over the value


class LawRecord(BaseModel):
    """A fitted law as a recipe keeps it: trend, form, parameters, bootstrap draws, status, configurations measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    form: str
    axes: tuple[str, ...]
    params: dict[str, float]
    draws: dict[str, list[float]]
    left_out: dict[str, list[float]]
    status: Status
    reason: str
    weak: tuple[str, ...]
    n_configurations: int
    group: str = ""
    target: str = MISALIGNMENT
    trend: str = ""
    measured: tuple[Measured, ...] = ()
    inside: Inside | None = None
    stretch: float = 1.0

    @field_validator("status", mode="before")
    @classmethod
    def _of_version_1(cls, status: str) -> str:
        """What version 1 called "no scaling" was not shown to be flat."""
        return "undetermined" if status == "no scaling" else status

    @classmethod
    def of(cls, law: FittedLaw, group: str = "") -> LawRecord:
        """The record of a law, or of one group of a law with shared exponents.

        A group's law is weakly identified where a parameter of its own, or a shared one, is; not where another group's.
        """
        verdict = law.verdict_of(group)
        names = {n: n.removesuffix(f"[{group}]") for n in law.names if "[" not in n or n.endswith(f"[{group}]")}
        names = {} if group in law.excluded else names
        weak = tuple(names[n] for n in verdict.weak if n in names)
        return cls(
            form=law.spec.form, axes=law.axes, params={names[n]: v for n, v in law.params.items() if n in names},
            draws={names[n]: law.draws[:, law.names.index(n)].tolist() for n in names},
            left_out={names[n]: law.left_out[:, law.names.index(n)].tolist() for n in names}, status=verdict.status,
            reason=verdict.reason, weak=weak, n_configurations=law.n_configurations, group=group,
            target=law.spec.target, trend=law.trend_text(group), measured=configurations(law, group),
            inside=None if group in law.excluded else law.inside, stretch=law.stretch,
        )  # fmt: skip

    @property
    def usable(self) -> bool:
        return self.status in USABLE

    @property
    def n_draws(self) -> int:
        return len(next(iter(self.draws.values()), []))

    def columns(self) -> dict[str, Array]:
        """Bootstrap draws and, below them, jackknife values of each parameter, as columns (B + G, 1)."""
        return {name: np.array([*self.draws[name], *self.left_out[name]])[:, None] for name in self.draws}

    def estimate(self, value: Any, columns: Array, level: float) -> Estimate:
        """A derived quantity and its interval, from its value at `params` and at `columns()`."""
        B = self.n_draws
        return estimate(float(value), columns[:B], level, columns[B:], self.stretch)

    def misalignment(self, params: Mapping[str, Any], axes: Mapping[str, Any]) -> Array:
        """y of the law: misalignment, or the target fitted."""
        return evaluate_form(find_form(self.form), params, [axes[name] for name in self.axes])

    def best_within(self, flops: float) -> Measured | None:
        """The best configuration measured at `flops` at most."""
        sign = 1 if self.target == MISALIGNMENT else -1
        affordable = [m for m in self.measured if m.flops <= flops * (1 + 1e-9)]
        return max(affordable, key=lambda m: sign * m.value, default=None)

    def curve_at(self, place: Measured, level: float) -> Estimate | None:
        """What the curve of a law that is not identified says at a configuration, with its t interval.

        None where that is wider than a factor of WIDEST: it says nothing, and its linearisation does not hold.
        """
        at = [getattr(place, axis, None) for axis in self.axes]
        if self.inside is None or not all(at):
            return None
        found = self.inside.predict(tuple(np.array([x]) for x in at), level, self.group)
        if not found[2][0] <= WIDEST * found[0][0]:
            return None
        ends = sorted(float(measured(self.target, y[0])) for y in found[1:])
        return Estimate(value=float(measured(self.target, found[0][0])), low=ends[0], high=ends[1])

    def asymptote(self, level: float) -> Estimate:
        """1 - E, the score of unlimited compute (E itself for another target)."""
        value, draws = (measured(self.target, p["E"]) for p in (self.params, self.columns()))
        return self.estimate(value, draws, level)
