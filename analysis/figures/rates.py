"""Losses against learning rates, cell by cell, with parabolas: how sharp the best rate is, and how it moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, MARKERS, label, legend, panel_title, panels, title
from analysis.rates.parabola import WINDOW
from analysis.rates.report import FoundCell, RateReport, SearchedCell

Pair = tuple[SearchedCell, FoundCell]
DRAWN = 40  # points of a parabola


def plot_rates(report: RateReport) -> Figure:
    """A panel a group and amount of data; marks are trials that were trained to their end, one colour a size.

    Lines are parabolas of ln loss in ln rate within a factor WINDOW of the best rate.
    """
    pairs = list(zip(report.searched, report.found, strict=True))
    places = sorted({(cell.group, cell.samples_seen) for cell, _ in pairs})
    sizes = sorted({cell.n_params for cell, _ in pairs})
    with panels(len(places)) as (figure, axes):
        for (group, seen), panel in zip(places, axes, strict=True):
            own = [pair for pair in pairs if (pair[0].group, pair[0].samples_seen) == (group, seen)]
            _panel(panel, own, sizes)
            panel_title(panel, f"{group}, {seen:,} samples seen")
            label(panel, "learning rate", "validation loss", log="xy")
        legend(figure, axes)
        title(figure, "Losses about the best rate", simulated=False)
    return figure


def _panel(panel: Axes, pairs: Sequence[Pair], sizes: Sequence[int]) -> None:
    for cell, found in pairs:
        i = sizes.index(cell.n_params)
        x, y = (np.exp(values) for values in cell.logs())
        done = np.isfinite(y)
        colour = COLOURS[i % len(COLOURS)]
        panel.plot(
            x[done], y[done], linestyle="", marker=MARKERS[i % len(MARKERS)], markersize=4, color=colour,
            label=f"N = {cell.n_params:,}",
        )  # fmt: skip
        if found.curvature is not None:
            u = np.linspace(-math.log(WINDOW), math.log(WINDOW), DRAWN)
            panel.plot(
                found.rate * np.exp(u), found.loss * np.exp(found.curvature * u**2), linewidth=0.9, color=colour,
                label=f"_parabola of N = {cell.n_params:,}",
            )  # fmt: skip
