"""One style for every figure: readable in grey, colours by lightness and marker, no global state."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from analysis.columns import REGIONS

TITLE_WIDTH = 48  # characters of a panel's title that fit its width
TICKS = 6  # of an axis at most
NARROW = 2.0  # decades: an axis below it has ticks between powers of ten
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
RC: dict[Any, Any] = {
    "font.size": 9, "font.family": "sans-serif", "axes.titlesize": 9, "axes.titley": 1.0, "axes.labelsize": 9,
    "legend.fontsize": 7.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "0.9", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "scaling", "figure.dpi": 110,
}  # fmt: skip
# Lightness falls in even steps, so that the order survives a grey print; markers tell the rest apart.
COLOURS = ("#0b1f4b", "#8c2d04", "#1b7a6b", "#d9822b", "#7a6fc0", "#3a8fb7", "#a08a1c", "#7d8389")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*")  # one more than colours: 72 pairs before one comes back
LABELS = {
    "flops": "training compute C (FLOP)",
    "n_params": "parameters N",
    "samples_seen": "samples seen D (images)",
    "n_samples": "training images (unique)",
    "mapping_samples": "stimuli that the mapping is fitted on, n",
    "score": "alignment score S",
    "misalignment": "misalignment L = 1 − S",
    "accuracy": "task accuracy (top-1)",
    "loss": "loss (nats)",
}
LETTERS_AN_INCH, COLUMN_INCHES = 12, 2.2  # of a title; of a legend's column


@contextmanager
def panels(n: int, columns: int = 3, size: tuple[float, float] = (3.4, 2.9)) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of n panels in the house style, without touching pyplot's state."""
    columns = min(n, columns)
    size = size if n > 1 else (5.0, 3.6)
    rows = -(-n // columns)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.35), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for spare in axes[n:]:
            spare.set_axis_off()
        yield figure, axes[:n]


def in_order(names: Sequence[str]) -> list[str]:
    """Regions along the ventral stream first, everything else by name."""
    return sorted(names, key=lambda n: (REGIONS.index(n) if n in REGIONS else len(REGIONS), n))


def panel_title(panel: Axes, *lines: str, name: str = "", width: int = TITLE_WIDTH) -> None:
    """A panel's title, wrapped to its own width so that it stays off its neighbours; name: of the panel in its data."""
    said = [part for line in lines for part in (wrap(line, width) or [""])]
    panel.set_title("\n".join(said), loc="left")
    panel.set_label(name or (said[0] if said else ""))


def power_of_ten(value: float, _: int | None = None) -> str:
    """A tick of a logarithmic axis: '10⁹', and '3·10⁹' between powers."""
    if value <= 0:
        return ""
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    power = f"10{str(exponent).translate(SUPERSCRIPTS)}"
    return power if abs(factor - 1) < 1e-6 else f"{factor:.3g}·{power}"


def label(axes: Axes, x: str, y: str, log: str = "x") -> None:
    """Axis labels with units; `log` names the logarithmic axes."""
    axes.set_xlabel(LABELS.get(x, x))
    axes.set_ylabel(LABELS.get(y, y))
    for scale, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if scale in log:
            getattr(axes, f"set_{scale}scale")("log")
            low, high = np.log10(np.maximum(axis.get_view_interval(), 1e-300))
            narrow = high - low < NARROW
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=TICKS))
            axis.set_major_formatter(FuncFormatter(power_of_ten))
            axis.set_minor_locator(NullLocator())
            axis.set_minor_formatter(NullFormatter())
        else:
            axis.set_major_locator(MaxNLocator(TICKS))


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """One legend below all panels, each label once, in as many columns as the figure is wide for."""
    handles: dict[str, Artist] = {}
    for panel in axes:
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    if handles:
        columns = max(1, min(columns, int(figure.get_figwidth() / COLUMN_INCHES)))
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def title(figure: Figure, text: str, simulated: bool) -> None:
    """The figure's title, broken where it is wider than the figure; simulated benchmarks are named as such."""
    text = f"{text} — simulated benchmark" if simulated else text
    figure.suptitle(fill(text, int(figure.get_figwidth() * LETTERS_AN_INCH)), fontsize=10)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the same figure gives the same SVG, byte by byte."""
    if str(path).endswith(".svg"):
        Path(path).write_text(svg_text(figure), encoding="utf-8")
        return
    with mpl.rc_context(RC):
        figure.savefig(path)


def svg_text(figure: Figure) -> str:
    """A figure as an SVG document; the same figure gives the same text.

    Its panels are laid out once and drawn once, where `savefig` does both twice.
    """
    buffer = io.StringIO()
    with mpl.rc_context(RC):
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()


def inline_svg(text: str, prefix: str) -> str:
    """An SVG document as an element of a page: ids of its own, and no name of a place outside."""
    text = text[text.index("<svg") :]
    text = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
