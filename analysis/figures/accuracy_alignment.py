"""Figures of accuracy against alignment: models, the broken line, the Pareto front, arrows between twins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.compute import FEW
from analysis.figures.style import COLOURS, MARKERS, label, legend, panel_title, panels, title
from analysis.fit.estimate import Estimate
from analysis.table import ScalingTable
from analysis.tradeoff.arrows import Arrow
from analysis.tradeoff.breaks import BREAK_FLOOR
from analysis.tradeoff.tradeoff import Tradeoff, analyze_tradeoff
from analysis.tradeoff.twins import Twins, scored_treatments, twin_arrows


def plot_tradeoff(
    tradeoffs: Sequence[Tradeoff], arrows: Mapping[str, Sequence[Arrow]] | None = None, lines: bool = True
) -> Figure:
    """Score against accuracy by region: models by family, the broken line, the Pareto front, arrows to twins.

    lines: False leaves out the broken line and the front, and what panels say of them.
    """
    with panels(len(tradeoffs)) as (figure, axes):
        for panel, tradeoff in zip(axes, tradeoffs, strict=True):
            _models(panel, tradeoff)
            if lines:
                _front(panel, tradeoff)
                _broken_line(panel, tradeoff)
            _arrows(panel, (arrows or {}).get(tradeoff.region, ()))
            if not lines:
                _widen(panel)
            label(panel, "accuracy", "score", log="")
            said = _correlations(tradeoff).split("\n") if lines else [tradeoff.region]
            panel_title(panel, *said, name=tradeoff.region)
        legend(figure, axes, columns=6 if lines else 1)
        simulated = any(t.table.names_simulated() for t in tradeoffs)
        title(figure, "Alignment against task accuracy", simulated)
    return figure


def _models(panel: Axes, tradeoff: Tradeoff) -> None:
    groups = (
        list(tradeoff.table.group("family")) if "family" in tradeoff.table.columns else [("models", tradeoff.table)]
    )
    few = len(tradeoff.table) < FEW
    for i, (name, part) in enumerate(groups):
        panel.plot(part.values("accuracy"), part.values("score"), linestyle="", marker=MARKERS[i % len(MARKERS)],
                   markersize=4.5 if few else 3, alpha=0.8 if few else 0.6, markeredgewidth=0,
                   color=COLOURS[i % len(COLOURS)], label=str(name))  # fmt: skip


ARROW = "0.25"  # darker than any family's marks


def _arrows(panel: Axes, arrows: Sequence[Arrow]) -> None:
    """From each baseline to its treated twin, with the intervals of both ends; the view grows to hold them."""
    for i, arrow in enumerate(arrows):
        x, y = zip(arrow.baseline, arrow.treated, strict=True)
        panel.plot(
            x, y, color=ARROW, alpha=0.7, linewidth=0.9, label=_arrow_label(arrows) if i == 0 else f"_{arrow.name}"
        )
        panel.annotate("", arrow.treated, arrow.baseline, arrowprops={"arrowstyle": "->", "color": ARROW, "alpha": 0.7})
        for end in (arrow.baseline_interval, arrow.treated_interval):
            if end is not None:
                _cross(panel, *end)
        if arrow.n > 1:
            panel.annotate(arrow.name, arrow.treated, (5, 4), textcoords="offset points", fontsize=7.5, color=ARROW)


def _cross(panel: Axes, x: Estimate, y: Estimate) -> None:
    """A mean with its intervals along both axes."""
    sides = [[[e.value - (e.low or 0.0)], [(e.high or 0.0) - e.value]] for e in (x, y)]
    panel.errorbar(x.value, y.value, xerr=sides[0], yerr=sides[1], fmt="none", ecolor=ARROW, elinewidth=1.1, capsize=2)


def _arrow_label(arrows: Sequence[Arrow]) -> str:
    """What an arrow is, and of how many pairs."""
    counts = sorted({arrow.n for arrow in arrows})
    if counts == [1]:
        return "baseline → treated"
    n = " to ".join(map(str, counts[:: len(counts) - 1 or 1]))
    return f"baseline → treated: means of n = {n} seeds, 95 % t-intervals"


def _widen(panel: Axes) -> None:
    """Accuracy over at least half the span of the score, so that what a treatment costs is seen beside its gain."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    span = max(right - left, (high - low) / 2)
    right = min((left + right + span) / 2, max(right, 1.0))
    panel.set_xlim(right - span, right)


def _front(panel: Axes, tradeoff: Tradeoff) -> None:
    rows = list(tradeoff.front)  # rings: a front of one model has no line
    panel.step(tradeoff.table.values("accuracy")[rows], tradeoff.table.values("score")[rows], where="pre",
               color="black", linewidth=0.9, marker="o", markersize=7, fillstyle="none", markeredgewidth=0.9,
               label="Pareto front")  # fmt: skip


def _broken_line(panel: Axes, tradeoff: Tradeoff) -> None:
    line = tradeoff.segments
    if line is None:
        return
    if line.at.low is not None and line.at.high is not None:
        panel.axvspan(
            line.at.low, line.at.high, color="0.85", alpha=0.6, linewidth=0, label="_95 % interval of the break"
        )
    x = np.array([line.start, line.at.value, tradeoff.table.values("accuracy").max()])
    y = line.level + line.slope_below.value * (x - x[1]) * (x < x[1]) + line.slope_above.value * (x - x[1]) * (x > x[1])
    panel.plot(x, y, "-.", color="black", linewidth=1.6, label=f"line with one break, above {BREAK_FLOOR:g}")


def _correlations(tradeoff: Tradeoff) -> str:
    lines = [f"{tradeoff.region}: {tradeoff.everything.n} models, ρ = {tradeoff.everything.rho.text('.2f')}"]
    sides = [f"{sign}{tradeoff.threshold:g}: ρ = {c.rho.value:.2f}" +
             (f" [{c.rho.low:.2f}, {c.rho.high:.2f}]" if c.rho.low is not None else "")
             for sign, c in (("≤", tradeoff.below), (">", tradeoff.above)) if c]  # fmt: skip
    return "\n".join([*lines, *sides])


def plot_twins(regions: Mapping[str, ScalingTable], twins: Twins) -> Figure | None:
    """Accuracy against alignment, a panel a region, an arrow from each baseline to its twin: means over seeds.

    None where too few models are scored, or none has its twin.
    """
    tradeoffs, arrows = [], {}
    for region, table in regions.items():
        if not scored_treatments(table, twins):
            continue
        try:
            tradeoff = analyze_tradeoff(table, str(table.unique("region")[0]), bootstrap=0)
        except ValueError:  # fewer than 4 models
            continue
        tradeoffs.append(replace(tradeoff, region=region))
        arrows[region] = twin_arrows(table, twins)
    return plot_tradeoff(tradeoffs, arrows, lines=False) if any(arrows.values()) else None
