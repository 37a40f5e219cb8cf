"""The figures of a study: score against compute, the compute-optimal path, accuracy against alignment."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from analysis.answers.laws import StudyLaws, family_rows
from analysis.columns import ACCURACY
from analysis.figures.cells import law_note
from analysis.figures.compute import plot_score_against_compute
from analysis.figures.split import plot_isoflop_contours
from analysis.fit.law import FittedLaw
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable


def family_figure(laws: StudyLaws, table: ScalingTable, family: str) -> Figure:
    """Score against compute of one family, a panel a region; laws that the data do not identify are not drawn."""
    own = {region: law for (region, name), law in laws.compute.items() if name == family}
    usable = {region: law for region, law in own.items() if isinstance(law, FittedLaw) and law.usable}
    notes = {region: law_note(law) for region, law in own.items() if isinstance(law, FittedLaw) and not law.usable}
    heading = f"{family}: alignment against training compute"
    return plot_score_against_compute(table.select(family=family), usable, heading=heading, notes=notes)


def optimum_figure(recipe: Recipe, regions: Mapping[str, ScalingTable], family: str) -> Figure | None:
    """Predicted accuracy and score of one family over N and D, with the compute-optimal path; None without a law."""
    found = {region: family_rows(rows, (family,))[family] for region, rows in regions.items()}
    own = {region: rows for region, rows in found.items() if rows is not None}
    named = dict.fromkeys((ACCURACY, *[*own][-1:]))
    shown = {name: own[name] for name in named if name in own and name in recipe.laws}
    heading = f"{family}: predicted score and the compute-optimal path"
    return plot_isoflop_contours(shown, recipe, heading) if shown else None
