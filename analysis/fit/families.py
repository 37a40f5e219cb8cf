"""Which family is best at a budget, how sure that is, and where two families cross."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.columns import MISALIGNMENT, measured
from analysis.fit.estimate import Estimate, estimate
from analysis.fit.fit import fit_law
from analysis.fit.law import FittedLaw
from analysis.table import ScalingTable

GRID_POINTS = 400


@dataclass(frozen=True)
class Ranking:
    """Families at one budget, best first: predicted score (or target), share of bootstrap draws in which it is best."""

    flops: float
    scores: Mapping[str, Estimate]
    share_best: Mapping[str, float]
    beyond: tuple[str, ...]

    @property
    def best(self) -> str:
        return next(iter(self.scores))

    def text(self) -> str:
        parts = [f"{n} {s.text('.3f')} (best in {self.share_best[n]:.0%})" for n, s in self.scores.items()]
        beyond = f"; extrapolated: {', '.join(self.beyond)}" if self.beyond else ""
        return f"{self.flops:.3g} FLOP: {', '.join(parts)}{beyond}"


@dataclass(frozen=True)
class Crossing:
    """Compute at which `above` overtakes `below`; None where they do not cross within the grid."""

    below: str
    above: str
    flops: Estimate


@dataclass(frozen=True)
class FamilyComparison:
    """Laws in compute by family; excluded: those that are not usable, and why; refused: the laws among these."""

    laws: Mapping[str, FittedLaw]
    excluded: Mapping[str, str]
    refused: Mapping[str, FittedLaw] = field(default_factory=dict)

    def rank(self, flops: float, level: float = 0.95) -> Ranking:
        """Families by predicted score (or by what else was fitted, least first) at compute `flops`."""
        target = next(iter(self.laws.values())).spec.target if self.laws else MISALIGNMENT
        y = {n: float(law.predict(flops=flops)) for n, law in self.laws.items()}
        y_draws = {n: law.predict_draws(flops=flops)[:, 0] for n, law in self.laws.items()}
        order = sorted(y, key=lambda n: y[n])
        first = np.argmin(np.stack([y_draws[n] for n in order]), axis=0)
        value, draws = ({n: measured(target, v) for n, v in found.items()} for found in (y, y_draws))
        share = {n: float(np.mean(first == i)) for i, n in enumerate(order)}
        beyond = tuple(n for n in order if not self._inside(self.laws[n], flops))
        scores = {n: estimate(value[n], draws[n], level, stretch=self.laws[n].stretch) for n in order}
        return Ranking(flops, scores, share, beyond)

    @staticmethod
    def _inside(law: FittedLaw, flops: float) -> bool:
        low, high = law.ranges["flops"]
        return low <= flops <= high

    def crossings(self, beyond: float = 10.0) -> tuple[Crossing, ...]:
        """Where each pair of families crosses, in the compute both were measured in and `beyond` times past it."""
        names = list(self.laws)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        return tuple(c for a, b in pairs for c in self._cross(a, b, beyond))

    def _cross(self, a: str, b: str, beyond: float) -> list[Crossing]:
        ranges = [self.laws[name].ranges["flops"] for name in (a, b)]
        low, high = max(r[0] for r in ranges), min(r[1] for r in ranges) * beyond
        if high <= low:
            return []
        C = np.geomspace(low, high, GRID_POINTS)
        gap = self.laws[a].predict(flops=C) - self.laws[b].predict(flops=C)
        where = np.flatnonzero(np.sign(gap[:-1]) != np.sign(gap[1:]))
        draws = self.laws[a].predict_draws(flops=C) - self.laws[b].predict_draws(flops=C)
        crossed = np.sign(draws[:, :-1]) != np.sign(draws[:, 1:])
        some = np.where(crossed.any(axis=1), C[np.argmax(crossed, axis=1)], np.inf)
        found = []
        stretch = max(self.laws[name].stretch for name in (a, b))
        for i in where:
            below, above = (b, a) if gap[i] > 0 else (a, b)
            found.append(Crossing(below, above, estimate(float(C[i]), some, 0.95, stretch=stretch)))
        return found

    def text(self, budgets: Sequence[float] = ()) -> str:
        lines = [self.rank(c).text() for c in budgets]
        lines += [f"{c.above} overtakes {c.below} at {c.flops.text()} FLOP" for c in self.crossings()]
        return "\n".join(lines + [f"{name}: left out, {reason}" for name, reason in self.excluded.items()])


def compare_families(
    rows: ScalingTable, by: str = "family", fit: Callable[..., FittedLaw] = fit_law, **options: Any
) -> FamilyComparison:
    """Fit score against compute for each family (or dataset, or objective); options as of `fit_law`.

    fit: in place of `fit_law`, as one that remembers (`once.Fits`).
    """
    laws, refused, excluded = {}, {}, {}
    for name, part in rows.group(by):
        try:
            law = fit(part, form="power_law", axes=("flops",), **options)
        except ValueError as error:
            excluded[str(name)] = str(error)
            continue
        if law.usable:
            laws[str(name)] = law
        else:
            refused[str(name)] = law
            excluded[str(name)] = f"{law.status}: {law.reason}"
    return FamilyComparison(laws, excluded, refused)
