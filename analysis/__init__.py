"""Scaling laws of vision models and their alignment: frame -> laws -> recipes -> figures; `answer` does it all.

Names are imported when they are first used, so that a saved recipe is loaded without pandas or matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.answers.answering import Answer, answer
    from analysis.answers.report import study_report
    from analysis.figures.accuracy_alignment import plot_tradeoff, plot_twins
    from analysis.figures.compute import plot_score_against_compute
    from analysis.figures.diagnostics import plot_extrapolation, plot_residuals
    from analysis.figures.report import build_report
    from analysis.figures.split import plot_isoflop_contours, plot_optimum
    from analysis.fit.estimate import Estimate
    from analysis.fit.extrapolate import choose_form, compare_forms
    from analysis.fit.families import compare_families
    from analysis.fit.fit import fit_law, fit_spec
    from analysis.fit.forms import FORMS
    from analysis.fit.law import FittedLaw
    from analysis.fit.spec import FitSpec
    from analysis.fit.targets import fit_targets
    from analysis.recipe.allocation import Allocation, Model, Reach
    from analysis.recipe.ask import ask_recipe, build_recipe
    from analysis.recipe.compute_map import ComputeMap, fit_compute_map
    from analysis.recipe.crosscheck import compute_envelope, isoflop_profiles
    from analysis.recipe.recipe import Recipe
    from analysis.table import ScalingTable
    from analysis.tradeoff.arrows import treatment_arrows
    from analysis.tradeoff.tradeoff import analyze_tradeoff
    from analysis.tradeoff.twins import TwinDifference, find_twins, twin_differences

_MODULES = {
    "answers.answering": ("Answer", "answer"),
    "answers.report": ("study_report",),
    "figures.diagnostics": ("plot_extrapolation", "plot_residuals"),
    "figures.compute": ("plot_score_against_compute",),
    "figures.report": ("build_report",),
    "figures.split": ("plot_isoflop_contours", "plot_optimum"),
    "figures.accuracy_alignment": ("plot_tradeoff", "plot_twins"),
    "fit.estimate": ("Estimate",),
    "fit.extrapolate": ("choose_form", "compare_forms"),
    "fit.families": ("compare_families",),
    "fit.fit": ("fit_law", "fit_spec"),
    "fit.forms": ("FORMS",),
    "fit.law": ("FittedLaw",),
    "fit.spec": ("FitSpec",),
    "fit.targets": ("fit_targets",),
    "recipe.allocation": ("Allocation", "Model", "Reach"),
    "recipe.ask": ("ask_recipe", "build_recipe"),
    "recipe.compute_map": ("ComputeMap", "fit_compute_map"),
    "recipe.crosscheck": ("compute_envelope", "isoflop_profiles"),
    "recipe.recipe": ("Recipe",),
    "table": ("ScalingTable",),
    "tradeoff.arrows": ("treatment_arrows",),
    "tradeoff.tradeoff": ("analyze_tradeoff",),
    "tradeoff.twins": ("TwinDifference", "find_twins", "twin_differences"),
}
_WHERE = {name: f"analysis.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "FORMS", "Allocation", "Answer", "ComputeMap", "Estimate", "FitSpec", "FittedLaw", "Model", "Reach", "Recipe",
    "ScalingTable", "TwinDifference", "analyze_tradeoff", "answer", "ask_recipe", "build_recipe", "build_report",
    "choose_form", "compare_families", "compare_forms", "compute_envelope", "find_twins", "fit_compute_map", "fit_law",
    "fit_spec", "fit_targets", "isoflop_profiles", "plot_extrapolation", "plot_isoflop_contours", "plot_optimum",
    "plot_residuals", "plot_score_against_compute", "plot_tradeoff", "plot_twins", "study_report",
    "treatment_arrows", "twin_differences",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
