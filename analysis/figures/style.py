"""One style for every figure: readable in grey, colours by lightness and marker, no global state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.columns import REGIONS

RC: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 7.5, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "0.9", "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "svg.fonttype": "none", "svg.hashsalt": "scaling", "figure.dpi": 110,
}  # fmt: skip
# Lightness falls in even steps, so that the order survives a grey print; markers tell the rest apart.
COLOURS = ("#0b1f4b", "#8c2d04", "#1b7a6b", "#d9822b", "#7a6fc0", "#3a8fb7", "#a08a1c", "#7d8389")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*")  # one more than colours: 72 pairs before one comes back
LABELS = {
    "flops": "training compute C (FLOP)",
    "n_params": "parameters N",
    "samples_seen": "samples seen D (images)",
    "n_samples": "training images (unique)",
    "score": "alignment score S",
    "misalignment": "misalignment L = 1 − S",
    "accuracy": "task accuracy (top-1)",
    "loss": "loss (nats)",
}


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


def label(axes: Axes, x: str, y: str, log: str = "x") -> None:
    """Axis labels with units; `log` names the logarithmic axes."""
    axes.set_xlabel(LABELS.get(x, x))
    axes.set_ylabel(LABELS.get(y, y))
    for scale, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if scale in log:
            getattr(axes, f"set_{scale}scale")("log")
            axis.set_major_locator(LogLocator(numticks=7))
            axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """One legend below all panels, each label once."""
    handles: dict[str, Artist] = {}
    for panel in axes:
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def title(figure: Figure, text: str, simulated: bool) -> None:
    """The figure's title; simulated benchmarks are named as such."""
    figure.suptitle(f"{text} — simulated benchmark" if simulated else text, fontsize=10)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the same figure gives the same SVG, byte by byte."""
    with mpl.rc_context(RC):
        figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
