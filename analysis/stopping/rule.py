"""Is the asked quantity known well enough? Its interval at a budget must lie within a factor of the estimate.

Of a family whose grid can hold a law of N and D the quantity is N_opt, the compute-optimal number of parameters; of
one with a single size or amount of data it is the misalignment 1 - score (the error 1 - accuracy) that its law in
compute predicts. With q the estimate and [low, high] its 95 % interval, "within a factor f" is q / f <= low and
high <= f q. Two intervals have to be: that of the recipe, exactly as the study's answer gives it (bootstrap of
configurations), and the t interval of the squares fit of configuration means (`delta`), which needs no draws and is
asked first.

A law that is weakly identified ends nothing, but where a score is asked about compute that was looked at: its
intervals are narrow where an exponent or the offset rests on what the cheap runs cannot tell. On the table of Gokce &
Schrimpf (2025) the cheapest 184 of 444 runs have N_opt at 1e20 FLOP within a factor of 2, by a law with E = 0, a tenth
of what all runs say; the law is ok from 232 runs on, and N_opt inside the interval of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.answers.by_region import by_region
from analysis.fit.fit import fit_with_squares
from analysis.fit.law import FittedLaw
from analysis.fit.spec import FitSpec
from analysis.recipe.recipe import Recipe
from analysis.stopping.delta import LEVEL, Linear, linear_score, linear_split
from analysis.table import ScalingTable

if TYPE_CHECKING:
    import pandas as pd

Order = Literal["cheapest", "informative"]
BOOTSTRAP = 300  # as of a study's answer


@dataclass(frozen=True)
class StopRule:
    """What is asked, and when it is known.

    region: or "accuracy"; budget: FLOP; factor: > 1; splits: family -> whether its N_opt is asked (else its score);
    every family has to be known. round: runs between two looks; run_flops: cost of a run beside its own FLOP, by which
    an informative order divides too.
    """

    region: str
    budget: float
    factor: float
    splits: Mapping[str, bool]
    order: Order = "cheapest"
    round: int = 4
    run_flops: float = 0.0
    bootstrap: int = BOOTSTRAP


@dataclass(frozen=True)
class Known:
    """What is known of one family's quantity: estimate, 95 % interval, whether it is within the factor, or why not."""

    family: str
    quantity: str
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    within: bool = False
    reason: str = ""

    def text(self) -> str:
        if self.reason:
            return f"{self.family}: {self.reason}"
        return f"{self.family}: {self.quantity} {self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Look:
    """What the first n_runs of an order say of every asked family; linear: of their quantities, for `choose`."""

    n_runs: int
    known: tuple[Known, ...]
    linear: tuple[Linear, ...] = field(default=(), repr=False, compare=False)

    @property
    def within(self) -> bool:
        return all(known.within for known in self.known)


def within_factor(value: float, low: float, high: float, factor: float) -> bool:
    """q / f <= low and high <= f q, for a quantity q > 0."""
    return bool(0 < value / factor <= low and high <= value * factor < np.inf)


def look_at(frame: pd.DataFrame | ScalingTable | None, rule: StopRule, n_runs: int = 0) -> Look:
    """The rule's look at rows of runs: a study's frame, one row a run and benchmark, families as in `rule.splits`."""
    try:
        rows = _region_rows(frame, rule.region)
    except ValueError as error:  # values that no measurement gives: the answer refuses them too
        rows = str(error)
    if isinstance(rows, str):
        return Look(n_runs, tuple(Known(name, _word(rule, split), reason=rows) for name, split in rule.splits.items()))
    found = [*_splits(rows, rule), *_scores(rows, rule)]
    known = {one.family: one for one, _ in found}
    linear = tuple(part for _, part in found if part is not None)
    return Look(n_runs, tuple(known[name] for name in rule.splits), linear)


def _word(rule: StopRule, split: bool) -> str:
    if split:
        return "N"
    return "error" if rule.region == "accuracy" else "misalignment"


def _region_rows(frame: pd.DataFrame | ScalingTable | None, region: str) -> ScalingTable | str:
    """The region's rows as the answer has them, or why there are none."""
    if frame is None or not len(frame):
        return "nothing is scored yet"
    table = frame if isinstance(frame, ScalingTable) else ScalingTable.from_frame(frame, where="the study")
    rows = by_region(table.require("family", "region").with_accuracy()).get(region)
    return rows if rows is not None and len(rows) else f"nothing of {region} is scored yet"


Found = tuple[Known, Linear | None]


def _splits(rows: ScalingTable, rule: StopRule) -> list[Found]:
    """Of the families whose N_opt is asked: one law, with exponents shared by all families that there are."""
    asked = [name for name, split in rule.splits.items() if split]
    if not asked:
        return []
    shared = "family" if len(rows.unique("family")) > 1 else None
    spec: dict[str, Any] = {"form": "chinchilla", "axes": ("n_params", "samples_seen"), "shared_by": shared}
    there = set(rows.unique("family"))
    found: list[Found] = [
        (Known(name, "N", reason="nothing is scored yet"), None) for name in asked if name not in there
    ]
    asked = [name for name in asked if name in there]
    return found + _judged(rows, rule, spec, {name: name if shared else "" for name in asked})


def _scores(rows: ScalingTable, rule: StopRule) -> list[Found]:
    """Of the families whose score is asked: a law in compute of each alone."""
    there = set(rows.unique("family"))
    found: list[Found] = []
    for name, split in rule.splits.items():
        if not split and name not in there:
            found.append((Known(name, _word(rule, split), reason="nothing is scored yet"), None))
        elif not split:
            spec = {"form": "power_law", "axes": ("flops",)}
            found += _judged(rows.select(family=name), rule, spec, {name: ""})
    return found


def _judged(rows: ScalingTable, rule: StopRule, spec: dict[str, Any], groups: Mapping[str, str]) -> list[Found]:
    """Squares first; the bootstrap, which takes most of the time, only where all families could be known."""
    words = {name: _word(rule, rule.splits[name]) for name in groups}
    try:
        law, squares = fit_with_squares(rows, FitSpec(**spec, bootstrap=0))
    except ValueError as error:  # rows that no law can be asked of, such as a single size so far
        return [(Known(name, words[name], reason=str(error)), None) for name in groups]
    linear: dict[str, Linear] = {}
    found: dict[str, Known] = {}
    for name, group in groups.items():
        recipe = Recipe.from_laws({rule.region: law}, group=group)
        if squares is not None and group not in law.excluded:
            make = linear_split if rule.splits[name] else linear_score
            part = make(name, group, squares, recipe, rule.budget)
            linear |= {} if part is None else {name: part}
        found[name] = _known(name, words[name], recipe, rule)
        if name in linear and not found[name].reason and linear[name].reach > np.log(rule.factor):
            wide = f"the t interval of {words[name]} reaches {np.exp(linear[name].reach):.3g}-fold"
            found[name] = Known(name, words[name], reason=wide)
    if not any(known.reason for known in found.values()):
        drawn, _ = fit_with_squares(rows, FitSpec(**spec, bootstrap=rule.bootstrap))
        found = {name: _drawn(name, group, words[name], drawn, rule) for name, group in groups.items()}
    return [(found[name], linear.get(name)) for name in groups]


def _drawn(name: str, group: str, word: str, law: FittedLaw, rule: StopRule) -> Known:
    return _known(name, word, Recipe.from_laws({rule.region: law}, group=group, level=LEVEL), rule)


def _known(name: str, word: str, recipe: Recipe, rule: StopRule) -> Known:
    """The recipe's own estimate and interval (without draws: the estimate alone)."""
    record = recipe.law(rule.region)
    inside = not rule.splits[name] and rule.budget <= recipe.ranges["flops"][1]
    if record.usable and record.status != "ok" and not inside:
        return Known(name, word, reason=f"the law is {record.status}: {record.reason}")
    allocation = recipe.allocate(rule.budget, rule.region)
    if rule.splits[name]:
        found = allocation.n_params
        if found is None:
            return Known(name, word, reason=allocation.reason)
        value, low, high = found.value, found.low, found.high
    else:
        score = allocation.scores.get(rule.region)
        if score is None:
            return Known(name, word, reason=allocation.reason)
        value = 1 - score.value
        low, high = (None if v is None else 1 - v for v in (score.high, score.low))
    if low is None or high is None:
        return Known(name, word, value)
    return Known(name, word, value, low, high, within_factor(value, low, high, rule.factor))
