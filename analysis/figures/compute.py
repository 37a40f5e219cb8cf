"""Figures of laws and recipes. Each function draws from tables and fitted laws, and returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import ACCURACY, Array
from analysis.figures.style import COLOURS, MARKERS, in_order, label, legend, panel_title, panels, title
from analysis.fit.law import FittedLaw
from analysis.fit.status import DIRECTIONS
from analysis.fit.words import change_cell
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable

CURVE_POINTS = 160
FEW = 40  # models: fewer are drawn larger
BEYOND = 10.0  # how many times past the largest compute measured a curve is drawn


def plot_score_against_compute(
    table: ScalingTable, laws: Mapping[str, FittedLaw] | FittedLaw | None = None, recipe: Recipe | None = None,
    by: str = "region", heading: str = "Alignment against training compute", notes: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """Score against compute C, one panel a value of `by`: models, the law with its 95 % band, the optimum.

    laws: by value of `by` (laws in flops are drawn against C; laws in N and D along the recipe's optimum);
    recipe: draws the predicted score of the compute-optimal allocation; notes: why a panel has no law.
    """
    named = {"": laws} if isinstance(laws, FittedLaw) else dict(laws or {})
    groups = dict(table.require("flops", "score").group(by)) if by in table.columns else {"": table}
    names = in_order([str(name) for name in groups])
    with panels(len(names)) as (figure, axes):
        for i, (name, panel) in enumerate(zip(names, axes, strict=True)):
            part = groups[name]
            _points(panel, part, i)
            law = named.get(name, named.get("") if len(names) == 1 else None)
            if law is not None and law.axes == ("flops",):
                _curve(panel, law, part.values("flops"))
            if recipe is not None:
                _optimum(panel, recipe, name if name in recipe.laws else None, part.values("flops"))
            _describe(panel, name, part, law, (notes or {}).get(name, "") if law is None else "")
            label(panel, "flops", "accuracy" if name == ACCURACY else "score")
            _frame(panel, part.values("score"))
        legend(figure, axes)
        title(figure, heading, table.names_simulated())
    return figure


def _points(panel: Axes, part: ScalingTable, i: int) -> None:
    few = len(part) < FEW
    panel.plot(part.values("flops"), part.values("score"), linestyle="", marker=MARKERS[i % len(MARKERS)],
               markersize=4.5 if few else 3, alpha=0.8 if few else 0.5, color=COLOURS[i % len(COLOURS)],
               markeredgewidth=0, label="model")  # fmt: skip


def compute_grid(flops: Array, beyond: float = BEYOND) -> Array:
    """Compute from the least to `beyond` times the largest measured, evenly in its logarithm."""
    return np.geomspace(flops.min(), flops.max() * beyond, CURVE_POINTS)


def _curve(panel: Axes, law: FittedLaw, flops: Array) -> None:
    """The law (dashed beyond the data) and its band."""
    C = compute_grid(flops)
    S = law.predict_score(flops=C) if not law.groups else np.full_like(C, np.nan)
    measured = flops.max() >= C
    style = "-" if law.usable else ":"
    panel.plot(C[measured], S[measured], style, color="black", linewidth=1.4, label="law" if law.usable else law.status)
    panel.plot(C[~measured], S[~measured], "--", color="black", linewidth=1.0, label="_law, beyond the data")
    if len(law.draws):
        low, high = law.band(flops=C)
        panel.fill_between(C, 1 - high, 1 - low, color="0.6", alpha=0.45, linewidth=0, label="95 % bootstrap")


def _optimum(panel: Axes, recipe: Recipe, target: str | None, flops: Array) -> None:
    """Predicted score at the recipe's compute-optimal allocation, where it gives one."""
    C = compute_grid(flops)[::8]
    allocations = [recipe.allocate(float(c), target) for c in C]
    key = target or next(iter(recipe.laws))
    known = [(a.flops, score.value) for a in allocations if a.n_params and (score := a.scores.get(key))]
    if known:
        x, y = np.array(known).T
        panel.plot(x, y, "-.", color="#8c2d04", linewidth=1.4, label="compute-optimal N, D")


def _frame(panel: Axes, score: Array) -> None:
    """Keep the models in view where a band runs far off."""
    margin = 0.5 * max(float(np.ptp(score)), 0.02)
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, score.min() - margin), min(high, score.max() + margin))


def _describe(panel: Axes, name: str, part: ScalingTable, law: FittedLaw | None, note: str) -> None:
    """Panel title: what, the number of models, the law in numbers, its status; or why there is none."""
    lines = [f"{name + ', ' if name else ''}{len(part)} models"]
    if law is not None and "" in law.trends:
        lines.append(f"{law.quantity} {change_cell(law.trends[''])}")
    if law is not None and law.usable and "alpha" in law.params:
        span = " [{:.2f}, {:.2f}]".format(*law.interval("alpha")) if len(law.draws) else ""
        lines[0] += f"; {law.status}"
        lines.append(f"S∞ = {1 - law.params.get('E', np.nan):.2f}, α = {law.params['alpha']:.2f}{span}")
    elif law is not None and law.status not in DIRECTIONS:
        lines.append(law.status)
    panel_title(panel, *lines, *([note] if note else []), name=name)
