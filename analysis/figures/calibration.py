"""Predicted with its interval against got: one mark a verification."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, MARKERS, in_order, legend, panels, title
from analysis.verify.calibration import Calibration, Mark, calibrate, limits
from analysis.verify.verification import Verification


def plot_calibration(verifications: Sequence[Verification]) -> Figure | None:
    """A panel a region; on the line what is predicted comes out. None before the first outcome.

    Thick: the law's 95 % interval (of the mean); thin: that of one run. Filled marks are the recommended models, open
    ones a third and three times their N. Families differ by colour and marker.
    """
    found = calibrate(verifications)
    if not found.marks:
        return None
    families = list(dict.fromkeys(mark.family for mark in found.marks))
    regions = in_order(found.regions)
    with panels(len(regions)) as (figure, axes):
        for region, panel in zip(regions, axes, strict=True):
            _panel(panel, found, region, families)
        legend(figure, axes)
        simulated = any(one.simulated for one in verifications)
        title(figure, "Verifications: predicted before training, and got", simulated)
    return figure


def _panel(panel: Axes, found: Calibration, region: str, families: Sequence[str]) -> None:
    marks = found.of(region)
    ends = limits(marks)
    panel.plot(ends, ends, color="0.5", linewidth=0.8, label="got = predicted")
    for mark in marks:
        _mark(panel, mark, families.index(mark.family))
    held, n = found.coverage("run", region)
    panel.set_title(f"{region}\none run's interval holds {held} of {n}", loc="left")
    panel.set(xlim=ends, ylim=ends, xlabel="got", ylabel="predicted")


def _mark(panel: Axes, mark: Mark, i: int) -> None:
    colour, said = COLOURS[i % len(COLOURS)], mark.said
    for interval, width in ((said.run, 0.8), (said.law, 2.2)):
        if interval.low is not None and interval.high is not None:
            panel.plot([mark.got] * 2, [interval.low, interval.high], color=colour, linewidth=width, alpha=0.7)
    kind = "recommended" if mark.recommended else "a third, three times its N"
    panel.plot(
        [mark.got], [said.law.value], linestyle="", marker=MARKERS[i % len(MARKERS)], markersize=5, color=colour,
        markerfacecolor=colour if mark.recommended else "white", label=f"{mark.family}, {kind}",
    )  # fmt: skip
