"""How often predictions held: marks of predicted against got, and the share of intervals that held the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.verify.predict import Prediction
from analysis.verify.verification import RECOMMENDED, Verification


@dataclass(frozen=True)
class Mark:
    """One outcome beside its prediction. flops: the budget; recommended: the model was the recipe's."""

    region: str
    family: str
    flops: float
    label: str
    said: Prediction
    got: float

    @property
    def recommended(self) -> bool:
        return self.label == RECOMMENDED

    def covered(self, kind: str) -> bool:
        """Whether the interval of the `law` or of one `run` holds the outcome."""
        interval = self.said.law if kind == "law" else self.said.run
        return interval.low is not None and interval.high is not None and interval.low <= self.got <= interval.high


@dataclass(frozen=True)
class Calibration:
    """All marks, and those regions whose outcomes had no prediction."""

    marks: tuple[Mark, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(mark.region for mark in self.marks))

    def of(self, region: str) -> tuple[Mark, ...]:
        return tuple(mark for mark in self.marks if mark.region == region)

    def coverage(self, kind: str, region: str | None = None) -> tuple[int, int]:
        """How many outcomes the intervals hold, and of how many; of all regions or one."""
        marks = self.marks if region is None else self.of(region)
        return sum(mark.covered(kind) for mark in marks), len(marks)

    def lines(self) -> list[str]:
        """The counts in words, each with the share that they allow."""
        if not self.marks:
            return []
        held, n = self.coverage("run")
        low, high = exact_interval(held, n)
        inside, _ = self.coverage("law")
        by_region = ", ".join("{} {} of {}".format(r, *self.coverage("run", r)) for r in self.regions)
        return [
            f"Calibration: intervals of one run held {held} of {n} outcomes ({by_region}); 95 % is claimed, a share "
            f"between {low:.0%} and {high:.0%} is compatible with the count (as if outcomes were independent)",
            f"the law's own intervals, which are of means and not of single runs, held {inside}",
        ]


def calibrate(verifications: Sequence[Verification]) -> Calibration:
    """The marks of every model that has an outcome and a prediction."""
    return Calibration(tuple(
        Mark(region, one.family, one.flops, trial.label, said, trial.got[region])
        for one in verifications
        for trial in one.trials
        for region, said in trial.predictions.items()
        if region in trial.got
    ))  # fmt: skip


def exact_interval(held: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Shares that are compatible with `held` of n (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(held, n - held + 1, tail)) if held else 0.0
    high = float(betaincinv(held + 1, n - held, 1 - tail)) if held < n else 1.0
    return low, high


def calibration_rows(verifications: Sequence[Verification]) -> list[dict[str, Any]]:
    """A row a mark, as plain values for a CSV: predicted, both intervals, got."""
    rows: list[dict[str, Any]] = []
    for mark in calibrate(verifications).marks:
        law, run = mark.said.law, mark.said.run
        ends = {"law_low": law.low, "law_high": law.high, "run_low": run.low, "run_high": run.high}
        rows.append({
            "region": mark.region, "family": mark.family, "flops": mark.flops, "model": mark.label,
            "predicted": law.value, **ends, "got": mark.got,
        })  # fmt: skip
    return rows


def limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """Ends of an axis on which all marks and intervals lie."""
    shown = [(mark.got, mark.said.law.value, mark.said.run.low, mark.said.run.high) for mark in marks]
    values = [value for of_mark in shown for value in of_mark if value is not None]
    margin = 0.06 * max(float(np.ptp(values)), 0.02)
    return min(values) - margin, max(values) + margin


def verifications_text(verifications: Sequence[Verification]) -> str:
    """All verifications, then how often predictions held; empty where there are none."""
    if not verifications:
        return ""
    title = "Verifications: predicted by the law before training, [95 % interval of the law's mean], and what came out"
    return "\n".join([title, *(one.text() for one in verifications), *calibrate(verifications).lines()]) + "\n"
