"""The matrix of pairs: by how much one model predicts better than another, and where that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparison.pairwise import LEVEL, Comparison
from analysis.figures.style import panel_title, panels, title

MOST_NAMED = 30  # models beyond this have no names on the axes
LONGEST = 22  # letters of a name


def plot_pairs(comparisons: Sequence[Comparison]) -> Figure:
    """A panel a benchmark, best model first: colour is raw of the row minus raw of the column; a dot: p < LEVEL."""
    with panels(len(comparisons), columns=2, size=(5.4, 4.8)) as (figure, axes):
        for panel, comparison in zip(axes, comparisons, strict=True):
            _matrix(figure, panel, comparison)
        title(figure, f"Differences between models; dots: p < {LEVEL:g}, Holm",
              any(one.simulated for one in comparisons))  # fmt: skip
    return figure


def _matrix(figure: Figure, panel: Axes, comparison: Comparison) -> None:
    n, limit = len(comparison.names), float(np.abs(comparison.difference).max()) or 1.0
    image = panel.imshow(comparison.difference, cmap="PuOr_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=panel, shrink=0.8, label="raw of row − raw of column")
    rows, columns = np.nonzero(comparison.p < LEVEL)
    panel.plot(
        columns, rows, linestyle="", marker=".", markersize=max(1.0, 60 / n), color="black", label=f"p < {LEVEL:g}"
    )
    panel.grid(False)
    if n <= MOST_NAMED:
        names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in comparison.names]
        panel.set_xticks(range(n), names, rotation=90, fontsize=6)
        panel.set_yticks(range(n), names, fontsize=6)
    panel_title(panel, comparison.benchmark, name=comparison.benchmark)
