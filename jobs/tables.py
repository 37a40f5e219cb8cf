"""Tables and recipes by path: what `scaling fit`, `scaling recipe` and `scaling report` read before they ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import FitSpec, Recipe, ScalingTable, ask_recipe, build_recipe, fit_targets
from analysis.fit.targets import TargetLaws
from analysis.recipe.ask import RecipeAnswer

Conditions = Mapping[str, Any]  # column -> value, or list of values
Names = Mapping[str, str]  # the file's name -> ours


def read_table(path: str | Path, where: Conditions | None = None, columns: Names | None = None) -> ScalingTable:
    """A CSV, a Parquet file, or a study's results folder, told apart by name; rows chosen by `where`."""
    text = str(path)
    if text.endswith((".csv", ".csv.gz", ".tsv")):
        table = ScalingTable.from_csv(path, columns)
    elif text.endswith(".parquet"):
        table = ScalingTable.from_parquet(path, columns)
    else:
        from scaling.frames import results_table  # here: a file of rows needs nothing of stores

        table = ScalingTable.from_frame(results_table(text), where=text)
    return table.select(**(where or {}))


def fit_table(
    path: str | Path, form: str = "power_law", axes: Sequence[str] = (), region: str | None = None, mean: bool = False,
    where: Conditions | None = None, extrapolate: bool = False, columns: Names | None = None, **options: Any,
) -> TargetLaws:  # fmt: skip
    """`scaling fit TABLE`: a law for a region, for the mean over regions, or for each; options: as of `FitSpec`."""
    spec = FitSpec(form=form, axes=tuple(axes), **options)
    return fit_targets(read_table(path, where, columns), spec, region, mean, extrapolate)


def ask_table(
    path: str | Path, flops: float | None = None, score: float | None = None, region: str | None = None,
    family: str | None = None, where: Conditions | None = None, columns: Names | None = None, **options: Any,
) -> RecipeAnswer:  # fmt: skip
    """`scaling recipe TABLE|RECIPE`: a saved recipe (.json) is asked as it is; options: as of `build_recipe`."""
    if str(path).endswith(".json"):
        return ask_recipe(Recipe.load(path), flops, score, region)
    recipe = build_recipe(read_table(path, where, columns), region, family, **options)
    return ask_recipe(recipe, flops, score, region)
