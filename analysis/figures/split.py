"""Figures of the compute-optimal split: the plane of N and D, and the optimum against compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import Array
from analysis.figures.style import COLOURS, LABELS, MARKERS, label, legend, panel_title, panels, title
from analysis.recipe.crosscheck import Frontier
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable

GRID = 120
BEYOND = 10.0
WIDTH = 50  # characters of a title over these wider panels


def plot_isoflop_contours(
    table: ScalingTable | Mapping[str, ScalingTable], recipe: Recipe,
    heading: str = "Predicted score and the compute-optimal path",
) -> Figure:  # fmt: skip
    """Predicted score over N and D, lines of equal compute, the path of the optimum, and the models trained.

    table: for the recipe's first law, or tables by region of the recipe, a panel each.
    """
    named = {None: table} if isinstance(table, ScalingTable) else dict(table)
    with panels(len(named), columns=2, size=(3.9, 3.3)) as (figure, axes):
        for panel, (region, part) in zip(axes, named.items(), strict=True):
            rows = part.require("n_params", "samples_seen", "flops", "score")
            _isoflop_panel(panel, rows.where(rows.values("samples_seen") > 0, "samples_seen is 0"), recipe, region)
        legend(figure, axes)
        title(figure, heading, any(part.names_simulated() for part in named.values()))
    return figure


def _isoflop_panel(panel: Axes, rows: ScalingTable, recipe: Recipe, region: str | None) -> None:
    N, D = rows.values("n_params"), rows.values("samples_seen")
    panel.plot(N, D, ".", color="0.55", markersize=3, label=f"{len(rows)} models")
    reason = recipe.split_reason(region)
    label(panel, "n_params", "samples_seen", log="xy")
    if reason:
        short = reason if recipe.law(region).usable else f"the law is {recipe.law(region).status}"
        panel_title(panel, f"{region + ': ' if region else ''}no optimum: {short}", name=region or "", width=WIDTH)
    else:
        _contours(panel, recipe, region, N, D)
        _isoflops(panel, recipe, rows.values("flops"), N)
        lost = "" if _path(panel, recipe, region, rows.values("flops")) else "optimum beyond all models"
        said = [f"{region}; {recipe.law(region).status}" if region else "", lost]
        panel_title(panel, "; ".join(part for part in said if part), name=region or "", width=WIDTH)
    panel.set_xlim(N.min() / 2, N.max() * 4)
    panel.set_ylim(D.min() / 2, D.max() * 20)
    label(panel, "n_params", "samples_seen", log="xy")  # ticks again, for these limits


def _contours(panel: Axes, recipe: Recipe, region: str | None, N: Array, D: Array) -> None:
    record = recipe.law(region)
    n, d = np.meshgrid(np.geomspace(N.min() / 2, N.max() * 4, GRID), np.geomspace(D.min() / 2, D.max() * 20, GRID))
    images = recipe.ranges.get("n_samples", (0.0, np.inf))[1]
    axes = {"n_params": n, "samples_seen": d, "n_samples": np.minimum(d, images)}
    drawn = panel.contour(n, d, 1 - record.misalignment(record.params, axes), levels=10, cmap="Greys", linewidths=1.1)
    panel.clabel(drawn, fmt="%.2f", fontsize=7)


def _isoflops(panel: Axes, recipe: Recipe, flops: Array, N: Array) -> None:
    assert recipe.compute is not None
    sizes = np.geomspace(N.min() / 2, N.max() * 4, GRID)
    low, high = np.log10(flops.min()), np.log10(flops.max() * BEYOND)
    for i, exponent in enumerate(np.arange(np.ceil(low), high + 1, 2)):
        panel.plot(sizes, recipe.compute.samples(sizes, 10.0**exponent), ":", color="0.4", linewidth=0.9,
                   label="equal compute (every 100×)" if i == 0 else f"_equal compute 1e{exponent:g}")  # fmt: skip


def _path(panel: Axes, recipe: Recipe, region: str | None, flops: Array) -> bool:
    """Whether there is an optimum to draw."""
    splits = [recipe.allocate(float(c), region) for c in _budgets(flops)]
    known = [(a.n_params.value, a.samples_seen.value) for a in splits if a.n_params and a.samples_seen]
    if known:
        panel.plot(*np.array(known).T, "-", color=COLOURS[1], linewidth=1.8, label="optimum")
    return bool(known)


def _budgets(flops: Array, points: int = 30) -> Array:
    return np.geomspace(flops.min(), flops.max() * BEYOND, points)


def plot_optimum(
    table: ScalingTable, recipe: Recipe, frontiers: Sequence[Frontier] = (), region: str | None = None
) -> Figure:
    """N and D of the optimum against compute, with 95 % bands, and what isoFLOP profiles and the envelope say."""
    rows = table.require("flops", "n_params", "samples_seen")
    C = _budgets(rows.values("flops"))
    splits = [recipe.allocate(float(c), region) for c in C]
    exponents = recipe.exponents(region)
    with panels(2, columns=2, size=(3.9, 3.3)) as (figure, axes):
        for panel, name in zip(axes, ("n_params", "samples_seen"), strict=True):
            panel.plot(
                rows.values("flops"), rows.values(name), ".", color="0.75", markersize=2.5, label=f"{len(rows)} models"
            )
            known = [e for a in splits if (e := getattr(a, name)) is not None]
            spent = [a.flops for a in splits if getattr(a, name) is not None]
            if known:
                panel.plot(spent, [e.value for e in known], "-", color="black", linewidth=1.5,
                           label="optimum of the law")  # fmt: skip
            if known and known[0].low is not None:
                panel.fill_between(spent, [e.low for e in known], [e.high for e in known], color="0.6", alpha=0.45,
                                   linewidth=0, label="95 % bootstrap")  # fmt: skip
            for i, frontier in enumerate(frontiers):
                _frontier(panel, frontier, name, i)
            label(panel, "flops", name, log="xy")
            power = f" ∝ C^{exponents[name].text('.2f')}" if name in exponents else ""
            panel_title(panel, LABELS[name].split(" (")[0] + power, name=name, width=WIDTH)
        legend(figure, axes, columns=3)
        title(figure, "Compute-optimal size and data", recipe.simulated)
    return figure


def _frontier(panel: Axes, frontier: Frontier, name: str, i: int) -> None:
    points = [(p.flops, getattr(p, name)) for p in frontier.profiles if getattr(p, name) is not None]
    if points:
        x, y = np.array(points).T
        panel.plot(x, y, linestyle="", marker=MARKERS[i + 1], color=COLOURS[i + 1], markersize=5, label=frontier.method)
