"""With this much compute and this many recorded stimuli, what alignment; and which of the two to buy next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from analysis.fit.estimate import Estimate, PlainModel, estimate
from analysis.fit.law import FittedLaw
from analysis.fit.status import no_numbers
from analysis.fit.trend import LEVEL
from analysis.mapping.curves import EVERYONE, MODEL, SAMPLES
from analysis.mapping.laws import Fitted, MappingLaws
from analysis.mapping.slope import measured_slope
from analysis.recipe.recipe import check_budget
from analysis.table import ScalingTable

MORE_STIMULI, MORE_COMPUTE = 100, 10.0  # what is compared


class Gain(PlainModel):
    """What more of something adds to a score, and whose law or slope says so; or why it is not known."""

    gain: Estimate | None = None
    by: str = ""

    def text(self) -> str:
        return f"not known: {self.by}" if self.gain is None else f"{self.gain.text('+.4f')}, by {self.by}"


class Forecast(PlainModel):
    """A benchmark's answer for one family. score, gains, difference (stimuli - compute): None where nothing says them.

    status, reason: of the surface L(C, n); of: what `score` is predicted by. buy: what gains more, or 'undetermined'.
    extrapolation: axis -> how many times beyond what was measured.
    """

    benchmark: str
    region: str
    family: str
    flops: float
    stimuli: float
    status: str
    reason: str
    score: Estimate | None = None
    of: str = ""
    more_stimuli: Gain = Gain()
    more_compute: Gain = Gain()
    difference: Estimate | None = None
    buy: Literal["stimuli", "compute", "undetermined"] = "undetermined"
    extrapolation: Mapping[str, float] = Field(default_factory=dict)

    def sentence(self) -> str:
        """Which of the two gains more, in numbers, or that it is undetermined."""
        known = self.more_stimuli.gain, self.more_compute.gain
        stimuli, compute = ("an unknown amount" if gain is None else gain.text("+.4f") for gain in known)
        verdict = {"stimuli": "stimuli gain more", "compute": "compute gains more"}.get(
            self.buy, "which gains more is undetermined"
        )
        return (
            f"{self.benchmark}, {self.family}, at {self.stimuli:g} stimuli and {self.flops:.3g} FLOP: {MORE_STIMULI} "
            f"more stimuli gain {stimuli}, {MORE_COMPUTE:g} times the compute gains {compute}: {verdict}"
        )

    def text(self) -> str:
        """A table for a terminal."""
        status = f"{self.status}{': ' + self.reason if self.reason else ''}"
        score = f"{self.score.text('.3f')}, by {self.of}" if self.score else f"no number: {self.of}"
        beyond = ", ".join(f"{name} {factor:.3g}x" for name, factor in self.extrapolation.items() if factor > 1)
        lines = {
            "benchmark": f"{self.benchmark} ({self.region})", "law of compute, stimuli": status, "score": score,
            f"{MORE_STIMULI} more stimuli": self.more_stimuli.text(),
            f"{MORE_COMPUTE:g} x the compute": self.more_compute.text(),
            "stimuli - compute": "not known" if self.difference is None else self.difference.text("+.4f"),
            "extrapolation": beyond or "none",
        }  # fmt: skip
        return "\n".join([*(f"{name:<24}{said}" for name, said in lines.items()), self.sentence()])


def forecasts(
    laws: MappingLaws, flops: float | None = None, stimuli: float | None = None, region: str | None = None,
    family: str | None = None,
) -> tuple[Forecast, ...]:  # fmt: skip
    """The answer of each benchmark (of a region) and family (or of one), at C and n; by default the largest measured.

    Raises ValueError for an unknown region or family (lists the known), flops or stimuli that are none, rows without
    compute.
    """
    if flops is not None:
        check_budget(flops)
    if stimuli is not None and not (np.isfinite(stimuli) and stimuli >= 1):
        raise ValueError(f"stimuli={stimuli:g} must be 1 or more, and finite: the number that a mapping is fitted on")
    if not laws.surfaces:
        raise ValueError(
            "no model with a mapping curve has its compute (column flops); its laws over stimuli stand alone"
        )
    regions = {benchmark: laws.region(benchmark) for benchmark, _ in laws.surfaces}
    families = tuple(dict.fromkeys(name for _, name in laws.surfaces))
    for kind, name, known in (("region", region, tuple(dict.fromkeys(regions.values()))), ("family", family, families)):
        if name is not None and name not in known:
            raise ValueError(f"unknown {kind} '{name}'; mapping curves are there of {', '.join(known)}")
    return tuple(
        _forecast(laws, benchmark, name, flops, stimuli)
        for benchmark, name in laws.surfaces
        if region in (None, regions[benchmark]) and family in (None, name)
    )


def _forecast(laws: MappingLaws, benchmark: str, family: str, flops: float | None, stimuli: float | None) -> Forecast:
    rows = laws.rows.select(benchmark=benchmark, family=family, subject=EVERYONE)
    most = {name: float(np.nanmax(rows.values(name))) for name in ("flops", SAMPLES)}
    C, n = flops or most["flops"], stimuli or most[SAMPLES]
    surface = laws.surfaces[benchmark, family]
    status, reason = ("no law", surface) if isinstance(surface, str) else (surface.status, surface.reason)
    known: dict[str, Any] = {
        "benchmark": benchmark, "region": laws.region(benchmark), "family": family, "flops": C, "stimuli": n,
        "status": status, "reason": reason, "extrapolation": {"flops": C / most["flops"], SAMPLES: n / most[SAMPLES]},
    }  # fmt: skip
    if isinstance(surface, FittedLaw) and surface.usable:
        return Forecast(**known, **_of_surface(surface, C, n))
    model = _nearest(rows, C)
    return Forecast(**known, **_measured(laws.curves[benchmark, model, EVERYONE], model, rows, n))


def _of_surface(law: FittedLaw, C: float, n: float) -> dict[str, Any]:
    """By the law of both; draws of a difference are paired."""
    points = ((C, n), (C, n + MORE_STIMULI), (C * MORE_COMPUTE, n))
    at = [float(law.predict(flops=c, mapping_samples=s)) for c, s in points]
    draws = [law.predict_draws(flops=c, mapping_samples=s)[:, 0] for c, s in points]

    def told(weights: tuple[int, int, int], offset: float = 0.0) -> Estimate:
        value = offset + sum(w * y for w, y in zip(weights, at, strict=True))
        drawn = offset + sum(w * y for w, y in zip(weights, draws, strict=True))
        return estimate(value, np.asarray(drawn), LEVEL, stretch=law.stretch)

    difference, by = told((0, -1, 1)), "the law of compute and stimuli"
    return {
        "score": told((-1, 0, 0), 1.0), "of": by, "more_stimuli": Gain(gain=told((1, -1, 0)), by=by),
        "more_compute": Gain(gain=told((1, 0, -1)), by=by), "difference": difference, "buy": _more(difference),
    }  # fmt: skip


def _measured(law: Fitted, model: str, rows: ScalingTable, n: float) -> dict[str, Any]:
    """Without a law of both: stimuli by the law of the nearest model, compute by the slope that was measured."""
    score, stimuli = _by_curve(law, model, n)
    slope, y = measured_slope(rows), float(np.median(1 - rows.values("score"))) if score is None else 1 - score.value
    compute = Gain(by=slope) if isinstance(slope, str) else Gain(gain=slope.gain(y, MORE_COMPUTE), by=slope.text())
    found: dict[str, Any] = {
        "score": score, "of": stimuli.by, "more_stimuli": stimuli, "more_compute": compute
    }  # fmt: skip
    if stimuli.gain is None or compute.gain is None:
        return found
    difference = difference_of(stimuli.gain, compute.gain)
    return {**found, "difference": difference, "buy": _more(difference)}


def _by_curve(law: Fitted, model: str, n: float) -> tuple[Estimate | None, Gain]:
    """The score at n stimuli, and what more of them add, by a model's own law."""
    if isinstance(law, str) or not law.usable:
        return None, Gain(by=f"{model}: {law if isinstance(law, str) else no_numbers(law.status, law.reason)}")
    y, more = (float(law.predict(mapping_samples=x)) for x in (n, n + MORE_STIMULI))
    drawn, drawn_more = (law.predict_draws(mapping_samples=x) for x in (n, n + MORE_STIMULI))
    score, gain = (
        estimate(value, draws, LEVEL, stretch=law.stretch)
        for value, draws in ((1 - y, 1 - drawn), (y - more, drawn - drawn_more))
    )
    return score, Gain(gain=gain, by=f"the law over stimuli of {model}, the nearest model trained")


def difference_of(first: Estimate, second: Estimate) -> Estimate:
    """first - second of independent estimates, its interval from theirs: d -+ sqrt of the sum of squared reaches.

    Source: Zou & Donner (2008), Statistics in Medicine 27: 1693 (MOVER).
    """
    ends = [float("nan") if end is None else end for end in (first.low, first.high, second.low, second.high)]
    value = first.value - second.value
    down = np.hypot(first.value - ends[0], ends[3] - second.value)
    up = np.hypot(ends[1] - first.value, second.value - ends[2])
    return Estimate(value=value, low=float(value - down), high=float(value + up))


def _more(difference: Estimate) -> Literal["stimuli", "compute", "undetermined"]:
    if difference.low is not None and difference.low > 0:
        return "stimuli"
    return "compute" if difference.high is not None and difference.high < 0 else "undetermined"


def _nearest(rows: ScalingTable, flops: float) -> str:
    """The model whose compute is nearest on a logarithmic scale."""
    means = rows.frame.groupby(MODEL)["flops"].mean()
    return str((np.log(means) - np.log(flops)).abs().idxmin())
