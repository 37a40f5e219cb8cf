"""Figures that check: residuals, extrapolation, and accuracy against alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.allocation import Estimate
from analysis.extrapolate import Extrapolation
from analysis.forms import Array
from analysis.law import FittedLaw
from analysis.style import COLOURS, MARKERS, label, legend, panels, title
from analysis.tradeoff import Arrow, Tradeoff


def plot_residuals(laws: Mapping[str, FittedLaw]) -> Figure:
    """ln(prediction) - ln(measured) against compute for each law, with the running median: it should lie on 0."""
    with panels(len(laws)) as (figure, axes):
        for panel, (name, law) in zip(axes, laws.items(), strict=True):
            x_name = "flops" if "flops" in law.rows.columns else law.axes[0]
            x, r = law.rows.values(x_name), law.residuals()
            panel.axhline(0, color="0.3", linewidth=0.9)
            panel.plot(x, r, ".", color=COLOURS[0], alpha=0.4, markersize=3.5, markeredgewidth=0)
            panel.plot(*_running_median(x, r), "-", color=COLOURS[1], linewidth=1.6, label="running median")
            label(panel, x_name, "ln(predicted L) − ln(measured L)")
            panel.set_title(f"{name}: {len(r)} models, median |r| {np.median(np.abs(r)):.3f}", loc="left")
        legend(figure, axes)
        title(figure, "Residuals", any(law.rows.names_simulated() for law in laws.values()))
    return figure


def _running_median(x: Array, r: Array, bands: int = 12) -> tuple[Array, Array]:
    order = np.argsort(x)
    parts = [part for part in np.array_split(order, bands) if len(part)]
    return np.array([np.median(x[p]) for p in parts]), np.array([np.median(r[p]) for p in parts])


def plot_extrapolation(tests: Mapping[str, Extrapolation], simulated: bool = False) -> Figure:
    """Median error of the score beyond the threshold, by form: bars to the median, marks at the 90th percentile."""
    with panels(len(tests), size=(3.8, 2.7)) as (figure, axes):
        for panel, (name, test) in zip(axes, tests.items(), strict=True):
            trials = [t for t in test.trials if np.isfinite(t.median_error)][::-1]
            y = np.arange(len(trials))
            panel.barh(y, [t.median_error for t in trials], height=0.55, edgecolor="black", linewidth=0.6,
                       color=["0.35" if t is test.chosen else "0.82" for t in trials], label="median")  # fmt: skip
            panel.plot([t.worst_tenth for t in trials], y, "k|", markersize=9, label="90th percentile")
            panel.set_yticks(y, [f"{t.form}\n{t.status}" for t in trials])
            panel.set_xlabel("|predicted − measured score|")
            counts = f"{test.n_fitted} models ≤ {test.threshold:.1e} FLOP\npredict {test.n_predicted} above"
            panel.set_title(f"{name}: {counts}", loc="left")
        legend(figure, axes)
        title(figure, "Extrapolation: fitted on cheap runs, predicting dear ones", simulated)
    return figure


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
            panel.set_title(_correlations(tradeoff) if lines else tradeoff.region, loc="left")
        legend(figure, axes, columns=6 if lines else 1)
        simulated = any(t.table.names_simulated() for t in tradeoffs)
        title(figure, "Alignment against task accuracy", simulated)
    return figure


def _models(panel: Axes, tradeoff: Tradeoff) -> None:
    groups = (
        list(tradeoff.table.group("family")) if "family" in tradeoff.table.columns else [("models", tradeoff.table)]
    )
    for i, (name, part) in enumerate(groups):
        panel.plot(part.values("accuracy"), part.values("score"), linestyle="", marker=MARKERS[i % len(MARKERS)],
                   markersize=3, alpha=0.6, markeredgewidth=0, color=COLOURS[i % len(COLOURS)],
                   label=str(name))  # fmt: skip


ARROW = "0.25"  # darker than any family's marks


def _arrows(panel: Axes, arrows: Sequence[Arrow]) -> None:
    """From each baseline to its treated twin, with the intervals of both ends; the view grows to hold them."""
    for i, arrow in enumerate(arrows):
        x, y = zip(arrow.baseline, arrow.treated, strict=True)
        panel.plot(x, y, color=ARROW, alpha=0.7, linewidth=0.9, label=_arrow_label(arrows) if i == 0 else None)
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
    rows = list(tradeoff.front)
    panel.step(tradeoff.table.values("accuracy")[rows], tradeoff.table.values("score")[rows], where="pre",
               color="black", linewidth=0.9, label="Pareto front")  # fmt: skip


def _broken_line(panel: Axes, tradeoff: Tradeoff) -> None:
    line = tradeoff.segments
    if line is None:
        return
    if line.at.low is not None and line.at.high is not None:
        panel.axvspan(line.at.low, line.at.high, color="0.85", alpha=0.6, linewidth=0)
    x = np.array([line.start, line.at.value, tradeoff.table.values("accuracy").max()])
    y = line.level + line.slope_below.value * (x - x[1]) * (x < x[1]) + line.slope_above.value * (x - x[1]) * (x > x[1])
    panel.plot(x, y, "-.", color="black", linewidth=1.6, label="line with one break")


def _correlations(tradeoff: Tradeoff) -> str:
    lines = [f"{tradeoff.region}: {tradeoff.everything.n} models, ρ = {tradeoff.everything.rho.text('.2f')}"]
    sides = [f"{sign}{tradeoff.threshold:g}: ρ = {c.rho.value:.2f}" +
             (f" [{c.rho.low:.2f}, {c.rho.high:.2f}]" if c.rho.low is not None else "")
             for sign, c in (("≤", tradeoff.below), (">", tradeoff.above)) if c]  # fmt: skip
    return "\n".join([*lines, *sides])
