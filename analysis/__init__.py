"""Scaling laws of vision models and their alignment: table -> laws -> fits -> recipes -> figures."""

from analysis.allocation import Allocation, Estimate, Model, Reach
from analysis.commands import fit_command, recipe_command, report_command
from analysis.compute_map import ComputeMap, fit_compute_map
from analysis.crosscheck import compute_envelope, isoflop_profiles
from analysis.extrapolate import choose_form, compare_forms
from analysis.families import compare_families
from analysis.figures import plot_score_against_compute
from analysis.figures_checks import plot_extrapolation, plot_residuals, plot_tradeoff
from analysis.figures_recipe import plot_isoflop_contours, plot_optimum
from analysis.fit import FitSpec, fit_law, fit_spec
from analysis.forms import FORMS
from analysis.law import FittedLaw
from analysis.recipe import Recipe
from analysis.report import build_report
from analysis.table import ScalingTable
from analysis.tradeoff import analyze_tradeoff, treatment_arrows

__all__ = [
    "FORMS", "Allocation", "ComputeMap", "Estimate", "FitSpec", "FittedLaw", "Model", "Reach", "Recipe",
    "ScalingTable", "analyze_tradeoff", "build_report", "choose_form", "compare_families", "compare_forms",
    "compute_envelope", "fit_command", "fit_compute_map", "fit_law", "fit_spec", "isoflop_profiles",
    "plot_extrapolation", "plot_isoflop_contours", "plot_optimum", "plot_residuals", "plot_score_against_compute",
    "plot_tradeoff", "recipe_command", "report_command", "treatment_arrows",
]  # fmt: skip
