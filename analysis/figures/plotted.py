"""The numbers behind a figure, read off what is drawn: they cannot differ from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

COLUMNS = ("panel", "series", "part", "x_axis", "x", "y_axis", "y", "low", "high")


def plotted_data(figure: Figure) -> pd.DataFrame:
    """One row a point of everything that a figure's panels draw in their own coordinates.

    panel, series: names; part: counts pieces of one series; x, y: in the axes' units, low, high: of a band at x.
    Lines across a whole panel, which hold no data, are left out.
    """
    rows = [
        {"panel": panel.get_label(), "x_axis": panel.get_xlabel(), "y_axis": panel.get_ylabel(), **found}
        for panel in figure.axes
        for found in _of_panel(panel)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_panel(panel: Axes) -> Iterator[dict[str, Any]]:
    for artist in panel.get_children():
        series = str(artist.get_label()).lstrip("_")
        if isinstance(artist, Line2D) and artist.get_transform() == panel.transData:
            yield from _points(series, 0, artist.get_xdata(), artist.get_ydata())
        elif isinstance(artist, QuadContourSet):
            yield from _contours(artist)
        elif isinstance(artist, PolyCollection):
            yield from _band(series, artist)
        elif isinstance(artist, LineCollection):
            for part, segment in enumerate(artist.get_segments()):
                yield from _points(series, part, *np.asarray(segment).T)
    yield from _bars(panel)


def _points(series: str, part: int, x: Any, y: Any) -> Iterator[dict[str, Any]]:
    for one, other in zip(np.asarray(x).tolist(), np.asarray(y).tolist(), strict=True):
        yield {"series": series, "part": part, "x": one, "y": other}


def _contours(drawn: QuadContourSet) -> Iterator[dict[str, Any]]:
    for level, path in zip(drawn.levels, drawn.get_paths(), strict=True):
        for part, line in enumerate(path.to_polygons(closed_only=False)):
            yield from _points(f"contour {level:.4g}", part, *np.asarray(line).T)


def _band(series: str, drawn: PolyCollection) -> Iterator[dict[str, Any]]:
    """What `fill_between` draws: a polygon of m + 1 vertices along the low side, and m + 1 back along the high one."""
    for part, path in enumerate(drawn.get_paths()):
        vertices = np.asarray(path.vertices)
        m = (len(vertices) - 3) // 2
        low, high = vertices[1 : m + 1], vertices[m + 2 : 2 * m + 2][::-1]
        for one, other in zip(low.tolist(), high.tolist(), strict=True):
            yield {"series": series, "part": part, "x": one[0], "low": one[1], "high": other[1]}


def _bars(panel: Axes) -> Iterator[dict[str, Any]]:
    """Horizontal bars by the names at their ticks; spans along x as low and high."""
    names = [text.get_text().replace("\n", ", ") for text in panel.get_yticklabels()]
    for container in panel.containers:
        for part, (bar, name) in enumerate(zip(container.get_children(), names, strict=False)):
            if isinstance(bar, Rectangle):
                yield {"series": f"{container.get_label()}: {name}", "part": part, "x": bar.get_width()}
    held = {id(bar) for container in panel.containers for bar in container.get_children()}
    for patch in panel.patches:
        if isinstance(patch, Rectangle) and id(patch) not in held:
            series = str(patch.get_label()).lstrip("_")
            yield {"series": series, "part": 0, "low": patch.get_x(), "high": patch.get_x() + patch.get_width()}
