"""Predicted score over compute and the stimuli of the mapping."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import label, panel_title, panels, title
from analysis.fit.law import FittedLaw
from analysis.mapping.curves import SAMPLES
from analysis.mapping.laws import MappingLaws

BEYOND, POINTS = 10.0, 60  # how many times past the largest measured; points along an axis


def plot_surface(laws: MappingLaws) -> Figure | None:
    """Contours of the score, a panel a usable law of C and n; points were measured. None without such a law."""
    known = {key: law for key, law in laws.surfaces.items() if isinstance(law, FittedLaw) and law.usable}
    if not known:
        return None
    with panels(len(known), columns=2, size=(4.6, 3.6)) as (figure, axes):
        for panel, ((benchmark, family), law) in zip(axes, known.items(), strict=True):
            C, n = (law.rows.values(name) for name in ("flops", SAMPLES))
            grid = [np.geomspace(x.min(), x.max() * beyond, POINTS) for x, beyond in ((C, BEYOND), (n, 2.0))]
            x, y = np.meshgrid(*grid)
            S = law.predict_score(flops=x.ravel(), mapping_samples=y.ravel()).reshape(x.shape)
            drawn = panel.contour(x, y, S, levels=8, cmap="viridis", linewidths=1.0)
            panel.clabel(drawn, fmt="%.3f", fontsize=6.5)
            panel.plot(C, n, linestyle="", marker=".", markersize=3, color="0.3", label="measured")
            label(panel, "flops", SAMPLES, log="xy")
            panel_title(panel, f"{benchmark}, {family}", name=f"{benchmark}, {family}")
        title(figure, "Predicted score over compute and mapping stimuli",
              any(law.rows.names_simulated() for law in known.values()))  # fmt: skip
    return figure
