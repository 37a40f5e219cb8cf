"""What the commands `scaling fit`, `scaling recipe` and `scaling report` call: plain arguments in, an answer out.

Each answer has `text()` for a terminal and `to_dict()` for --json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analysis.allocation import Allocation, Reach
from analysis.columns import ACCURACY, MISALIGNMENT, measured_name
from analysis.extrapolate import Extrapolation, compare_forms
from analysis.fit import FitSpec, fit_law, fit_spec
from analysis.law import FittedLaw, finite
from analysis.recipe import Recipe
from analysis.report import Report, build_report
from analysis.table import ScalingTable


@dataclass(frozen=True)
class FitAnswer:
    """A law by target, and the extrapolation test where it was asked for."""

    laws: Mapping[str, FittedLaw]
    extrapolation: Mapping[str, Extrapolation]

    def text(self) -> str:
        parts = [f"{name}\n{law.text()}" for name, law in self.laws.items()]
        return "\n\n".join(parts + [f"{name}: {test.text()}" for name, test in self.extrapolation.items()])

    def to_dict(self) -> dict[str, Any]:
        return {"laws": {name: law.to_dict() for name, law in self.laws.items()},
                "extrapolation": {name: test.to_dict() for name, test in self.extrapolation.items()}}  # fmt: skip


def read_rows(
    table: str | Path | ScalingTable, where: Mapping[str, Any] | None = None, columns: Mapping[str, str] | None = None
) -> ScalingTable:
    """A table from a path (CSV, Parquet, study folder), rows chosen by `where` (column -> value or values)."""
    read = table if isinstance(table, ScalingTable) else ScalingTable.read(table, columns)
    return read.select(**(where or {}))


def targets(rows: ScalingTable, region: str | None, mean: bool, target: str = MISALIGNMENT) -> dict[str, ScalingTable]:
    """Rows by target: one region, the mean over all of them, or each region; one of its name without regions.

    Region 'accuracy' is the held-out accuracy of the rows' models, see `ScalingTable.with_accuracy`.
    """
    name = measured_name(target)
    if "region" not in rows.columns:
        return {name: rows}
    if region == ACCURACY:
        rows = rows.with_accuracy()
    if region is not None:
        return {region: rows.select(region=region)}
    return {name: rows.mean_over("region", of=name)} if mean else {str(r): part for r, part in rows.group("region")}


def fit_command(
    table: str | Path | ScalingTable, form: str = "power_law", axes: Sequence[str] = (), region: str | None = None,
    mean: bool = False, where: Mapping[str, Any] | None = None, extrapolate: bool = False,
    columns: Mapping[str, str] | None = None, **options: Any,
) -> FitAnswer:  # fmt: skip
    """`scaling fit TABLE`: a law for a region, for the mean over regions, or for each region.

    where: conditions on rows; extrapolate: also run the extrapolation test; columns: names of the file -> ours;
    options: as of `FitSpec` (bootstrap, seed, huber_delta, target, offset, cluster, strata).
    """
    spec = FitSpec(form=form, axes=tuple(axes), **options)
    chosen = targets(read_rows(table, where, columns), region, mean, spec.target)
    laws = {name: fit_spec(rows, spec) for name, rows in chosen.items()}
    tests = {name: compare_forms(rows, spec=spec) for name, rows in chosen.items()} if extrapolate else {}
    return FitAnswer(laws, tests)


@dataclass(frozen=True)
class RecipeAnswer:
    """A recipe with its allocation at a budget and the compute that reaches a score, where asked."""

    recipe: Recipe
    allocation: Allocation | None
    reach: Reach | None

    def text(self) -> str:
        record = next(iter(self.recipe.laws.values()))
        form = f"{'form':<24}{record.form} in {', '.join(record.axes)}"
        if not (self.allocation and self.allocation.status):  # which says it itself
            form += f"; the law is {record.status} {record.reason}".rstrip()
        compute = self.recipe.compute.text() if self.recipe.compute else f"none: {self.recipe.compute_reason}"
        parts = [form, f"{'compute map':<24}{compute}"]
        parts += [self.allocation.text()] if self.allocation else []
        parts += [f"{'compute for the ' + self.recipe.quantity:<24}{self.reach.text()}"] if self.reach else []
        parts += ["simulated benchmark"] if self.recipe.simulated else []
        return "\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        laws = {name: {"form": law.form, "axes": list(law.axes), "status": law.status, "reason": law.reason,
                       "params": {n: finite(v) for n, v in law.params.items()}}
                for name, law in self.recipe.laws.items()}  # fmt: skip
        return {
            "laws": laws, "compute": self.recipe.compute.model_dump() if self.recipe.compute else None,
            "compute_reason": self.recipe.compute_reason, "simulated": self.recipe.simulated,
            "allocation": self.allocation.to_dict() if self.allocation else None,
            "reach": self.reach.to_dict() if self.reach else None,
        }  # fmt: skip


def build_recipe(
    table: str | Path | ScalingTable, region: str | None = None, family: str | None = None,
    where: Mapping[str, Any] | None = None, compute: Literal["forward", "product"] | None = None,
    columns: Mapping[str, str] | None = None, **options: Any,
) -> Recipe:  # fmt: skip
    """A recipe from a study or a table: E + A·N^-alpha + B·D^-beta of the region, or of the mean over regions.

    Where the rows cannot hold that law (one size, one amount of data) the law in compute stands in: it predicts
    scores, and `allocate` says why it gives no split. A saved recipe (.json) is loaded as it is.
    """
    if not isinstance(table, ScalingTable) and str(table).endswith(".json"):
        return Recipe.load(table)
    conditions = {**(where or {}), **({"family": family} if family else {})}
    target = options.get("target", MISALIGNMENT)
    (rows,) = targets(read_rows(table, conditions, columns), region, region is None, target).values()
    rows = rows.require("n_params", "samples_seen")
    varied = all(len(set(rows.values(name))) > 1 for name in ("n_params", "samples_seen"))
    form = (
        {"form": "chinchilla", "axes": ("n_params", "samples_seen")}
        if varied
        else {"form": "power_law", "axes": ("flops",)}
    )
    return fit_law(rows, **form, **options).recipe(compute=compute)  # type: ignore[arg-type]


def recipe_command(
    source: str | Path | ScalingTable | Recipe, flops: float | None = None, score: float | None = None,
    region: str | None = None, family: str | None = None, **options: Any,
) -> RecipeAnswer:  # fmt: skip
    """`scaling recipe (STUDY|TABLE|recipe.json) --flops X [--score S]`: options as of `build_recipe` and `FitSpec`."""
    recipe = source if isinstance(source, Recipe) else build_recipe(source, region, family, **options)
    target = region if region in recipe.laws else None
    if region is not None and target is None:
        recipe.law(region)
    allocation = recipe.allocate(flops, target) if flops is not None else None
    return RecipeAnswer(recipe, allocation, recipe.flops_for(score, target) if score is not None else None)


def report_command(
    table: str | Path | ScalingTable, out: str | Path, where: Mapping[str, Any] | None = None, **options: Any
) -> Report:
    """`scaling report --table CSV --out DIR`: every figure and a page; options as of `build_report`."""
    report = build_report(read_rows(table, where), **options)
    report.save(out)
    return report
