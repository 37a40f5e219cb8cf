"""Score against the stimuli that the mapping is fitted on: models, and the laws over them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, MARKERS, label, legend, panel_title, panels, title
from analysis.fit.law import FittedLaw
from analysis.mapping.curves import EVERYONE, MODEL, SAMPLES
from analysis.mapping.laws import MappingLaws, means_of_runs
from analysis.table import ScalingTable

SHOWN = 6  # models of a panel, evenly by their score on the most stimuli
BEYOND = 2.0  # how many times past the most stimuli a law is drawn
POINTS = 80


def plot_mapping(laws: MappingLaws) -> Figure:
    """A panel a benchmark and family: means over orders and seeds, and each usable law with its 95 % band."""
    known = laws.rows.select(subject=EVERYONE)
    parts = list(known.group("benchmark", "family"))
    shown = [_shown(part) for _, part in parts]
    order = list(dict.fromkeys(model for own in shown for model in own))  # a model has one colour in all panels
    with panels(len(parts), columns=2, size=(4.6, 3.4)) as (figure, axes):
        for panel, ((benchmark, family), part), own in zip(axes, parts, shown, strict=True):
            for model in own:
                law = laws.curves[str(benchmark), model, EVERYONE]
                _model(panel, part.select(model=model), law, model, order.index(model))
            label(panel, SAMPLES, "score")
            panel_title(panel, f"{benchmark}, {family}", name=f"{benchmark}, {family}")
        legend(figure, axes, columns=2)
        title(figure, "Alignment against the stimuli of the mapping", known.names_simulated())
    return figure


def _shown(part: ScalingTable) -> list[str]:
    """Models, worst first, evenly by their score on the most stimuli where there are many."""
    last = part.frame[part.frame[SAMPLES] == part.values(SAMPLES).max()]
    order = list(last.groupby(MODEL)["score"].mean().sort_values().index)
    chosen = np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))
    return [str(order[i]) for i in chosen]


def _model(panel: Axes, rows: ScalingTable, law: FittedLaw | str, name: str, i: int) -> None:
    colour, means = COLOURS[i % len(COLOURS)], means_of_runs(rows)
    n = means.values(SAMPLES)
    panel.plot(n, means.values("score"), linestyle="", marker=MARKERS[i % len(MARKERS)], markersize=4.5, color=colour,
               markeredgewidth=0, label=name)  # fmt: skip
    if isinstance(law, str) or not law.usable:
        return
    x = np.geomspace(n.min(), n.max() * BEYOND, POINTS)
    S, inside = law.predict_score(mapping_samples=x), x <= n.max()
    panel.plot(x[inside], S[inside], color=colour, linewidth=1.2, label=f"_{name}, law")
    panel.plot(x[~inside], S[~inside], "--", color=colour, linewidth=1.0, label=f"_{name}, law beyond the data")
    if len(law.draws):
        low, high = law.band(mapping_samples=x)
        panel.fill_between(x, 1 - high, 1 - low, color=colour, alpha=0.15, linewidth=0, label=f"_{name}, 95 %")
