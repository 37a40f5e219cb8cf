"""A recipe from a table, and what it answers at a budget or for a score, as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from analysis.columns import MISALIGNMENT
from analysis.fit.fit import fit_law
from analysis.fit.law import finite
from analysis.fit.status import no_numbers
from analysis.fit.targets import targets
from analysis.recipe.allocation import Allocation, Reach
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable


@dataclass(frozen=True)
class RecipeAnswer:
    """A recipe with its allocation at a budget and the compute that reaches a score, where asked."""

    recipe: Recipe
    allocation: Allocation | None
    reach: Reach | None

    def text(self) -> str:
        record = next(iter(self.recipe.laws.values()))
        form = f"{'form':<24}{record.form} in {', '.join(record.axes)}"
        if self.allocation is None:  # which says it itself
            form += f"; {'the law is ok' if record.status == 'ok' else no_numbers(record.status, record.reason)}"
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
    rows: ScalingTable, region: str | None = None, family: str | None = None,
    compute: Literal["forward", "product"] | None = None, **options: Any,
) -> Recipe:  # fmt: skip
    """A recipe from a table: E + A·N^-alpha + B·D^-beta of the region, or of the mean over regions.

    Where the rows cannot hold that law (one size, one amount of data) the law in compute stands in: it predicts
    scores, and `allocate` says why it gives no split. options: as of `FitSpec`.
    """
    rows = rows.select(family=family) if family else rows
    (part,) = targets(rows, region, region is None, options.get("target", MISALIGNMENT)).values()
    part = part.require("n_params", "samples_seen")
    varied = all(len(set(part.values(name))) > 1 for name in ("n_params", "samples_seen"))
    form, axes = ("chinchilla", ("n_params", "samples_seen")) if varied else ("power_law", ("flops",))
    return Recipe.from_law(fit_law(part, form, axes, **options), compute=compute)


def ask_recipe(
    recipe: Recipe, flops: float | None = None, score: float | None = None, region: str | None = None
) -> RecipeAnswer:
    """The split of a budget, and the compute that reaches a score; an unknown region is refused."""
    if region is not None:
        recipe.law(region)
    allocation = recipe.allocate(flops, region) if flops is not None else None
    return RecipeAnswer(recipe, allocation, recipe.flops_for(score, region) if score is not None else None)
