"""Figures that check: residuals and extrapolation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from analysis.columns import Array
from analysis.figures.style import COLOURS, label, legend, panel_title, panels, title
from analysis.fit.extrapolate import Extrapolation
from analysis.fit.law import FittedLaw

BANDS, LEAST_PER_BAND = 12, 6  # of x, evenly by rows, and the rows that a median is taken over at least


def plot_residuals(laws: Mapping[str, FittedLaw]) -> Figure:
    """ln(prediction) - ln(measured) against compute for each law, with the running median: it should lie on 0."""
    with panels(len(laws)) as (figure, axes):
        for panel, (name, law) in zip(axes, laws.items(), strict=True):
            x_name = "flops" if "flops" in law.rows.columns else law.axes[0]
            x, r = law.rows.values(x_name), law.residuals()
            x, r = x[np.isfinite(r)], r[np.isfinite(r)]  # rows of groups that do not share the law have none
            panel.axhline(0, color="0.3", linewidth=0.9)
            panel.plot(
                x,
                r,
                ".",
                color=COLOURS[0],
                alpha=0.4,
                markersize=3.5 if len(r) > 60 else 6,
                markeredgewidth=0,
                label="model",
            )
            if len(r) >= 3 * LEAST_PER_BAND:
                panel.plot(*_running_median(x, r), "-", color=COLOURS[1], linewidth=1.6, label="running median")
            label(panel, x_name, "ln(predicted L) − ln(measured L)")
            panel_title(panel, f"{name}: {len(r)} models, median |r| {np.median(np.abs(r)):.3f}", name=name)
        legend(figure, axes)
        title(figure, "Residuals", any(law.rows.names_simulated() for law in laws.values()))
    return figure


def _running_median(x: Array, r: Array) -> tuple[Array, Array]:
    parts = np.array_split(np.argsort(x), min(BANDS, len(r) // LEAST_PER_BAND))
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
            panel_title(panel, *f"{name}: {counts}".split("\n"), name=name, width=48)
        legend(figure, axes)
        title(figure, "Extrapolation: fitted on cheap runs, predicting dear ones", simulated)
    return figure
