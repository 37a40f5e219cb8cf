"""Scaling laws of vision models and their alignment: table -> laws -> fits -> recipes -> figures."""

from analysis.allocation import Allocation, Estimate, Model, Reach
from analysis.compute_map import ComputeMap, fit_compute_map
from analysis.figures import plot_score_against_compute
from analysis.fit import FitSpec, fit_law, fit_spec
from analysis.forms import FORMS
from analysis.law import FittedLaw
from analysis.recipe import Recipe
from analysis.table import ScalingTable

__all__ = [
    "FORMS", "Allocation", "ComputeMap", "Estimate", "FitSpec", "FittedLaw", "Model", "Reach", "Recipe",
    "ScalingTable", "fit_compute_map", "fit_law", "fit_spec", "plot_score_against_compute",
]  # fmt: skip
