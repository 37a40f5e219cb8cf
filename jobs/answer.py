"""What a study answers: the laws of every region, the recipe of every family, one figure a view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from analysis import Allocation, FittedLaw, Recipe, ScalingTable, fit_law, plot_score_against_compute
from jobs.run import study_storage
from scaling.errors import StudyError
from scaling.study import StudySpec, expand_study

ALL = "all families"
BOOTSTRAP = 300
BEYOND = 10.0  # the recipe printed at the end of a run is for this many times the largest run's compute
FORMS = (("power_law", ("flops",)), ("chinchilla", ("n_params", "samples_seen")))
TARGET_ORDER = ("IT", "behavior", "V4", "V2", "V1")


@dataclass(frozen=True)
class StudyAnswer:
    """Laws by (family, region): `compute_laws` L = E + A·C^-α, `size_laws` L = E + A·N^-α + B·D^-β; recipes by family.

    Several benchmarks of one region enter as their mean. `refused`: why a family and region has no law at all, such
    as a single model size.
    """

    table: ScalingTable
    refused: dict[tuple[str, str], str]
    compute_laws: dict[tuple[str, str], FittedLaw]
    size_laws: dict[tuple[str, str], FittedLaw]
    recipes: dict[str, Recipe]

    @property
    def target(self) -> str:
        """The region that recipes are made for unless one is named: IT where it was scored."""
        scored = self.table.unique("region")
        return next((region for region in TARGET_ORDER if region in scored), str(scored[0]))

    def allocate(self, flops: float, region: str | None = None, family: str | None = None) -> dict[str, Allocation]:
        """The recipe's split of a budget, by family.

        Raises:
            StudyError: an unknown region or family (lists the known), flops not above 0.
        """
        target = region or self.target
        for kind, name, known in (("region", target, self.table.unique("region")), ("family", family, self.recipes)):
            if name is not None and name not in known:
                raise StudyError(f"unknown {kind} '{name}'; this study has {', '.join(map(str, known))}")
        try:
            return {
                name: recipe.allocate(flops, target)
                for name, recipe in self.recipes.items()
                if family in (None, name)
            }
        except ValueError as error:
            raise StudyError(str(error)) from error


def study_table(study: StudySpec) -> ScalingTable:
    """The final scores of the study's own runs, as a table.

    Raises:
        StudyError: nothing is scored yet.
    """
    run_ids = {run.run_id for run in expand_study(study)}
    try:
        table = ScalingTable.from_study(study_storage(study).uri, run_ids=run_ids)
    except ValueError as error:
        raise StudyError(f"study '{study.name}' has no scores to fit ({error}); run it first: scaling run STUDY") from error
    if not len(table):
        raise StudyError(f"study '{study.name}' has no finished, scored run; run it first: scaling run STUDY")
    return table


def answer_study(study: StudySpec, seed: int = 0) -> StudyAnswer:
    """Fit every law of a study, for each family and for all together."""
    table = study_table(study)
    families = {str(name): table.select(family=name) for name in table.unique("family")}
    groups = families if len(families) == 1 else {**families, ALL: table}
    compute_laws: dict[tuple[str, str], FittedLaw] = {}
    size_laws: dict[tuple[str, str], FittedLaw] = {}
    refused: dict[tuple[str, str], str] = {}
    for family, rows in groups.items():
        for region, part in by_region(rows).items():
            try:
                compute_law, size_law = (
                    fit_law(part, form, axes=axes, bootstrap=BOOTSTRAP, seed=seed) for form, axes in FORMS
                )
            except ValueError as error:
                refused[family, region] = str(error)
                continue
            compute_laws[family, region], size_laws[family, region] = compute_law, size_law
    recipes = {
        family: Recipe.from_laws({region: law for (name, region), law in size_laws.items() if name == family})
        for family in groups
        if any(name == family for name, _ in size_laws)
    }
    return StudyAnswer(table, refused, compute_laws, size_laws, recipes)


def by_region(rows: ScalingTable) -> dict[str, ScalingTable]:
    """One table a region; several benchmarks of a region enter as their mean."""
    regions = {str(region): part for region, part in rows.group("region")}
    return {
        region: part.mean_over("benchmark") if len(part.unique("benchmark")) > 1 else part
        for region, part in sorted(regions.items(), key=lambda item: _order(item[0]))
    }


def save_answer(answer: StudyAnswer, folder: Path) -> list[Path]:
    """Write the recipes (JSON) and the figures (PNG); returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for family, recipe in answer.recipes.items():
        files.append(folder / f"recipe-{family.replace(' ', '-')}.json")
        recipe.save(files[-1])
    whole = ALL if len(answer.table.unique("family")) > 1 else str(answer.table.unique("family")[0])
    laws = {region: law for (family, region), law in answer.compute_laws.items() if family == whole}
    parts = {family: law for (family, region), law in answer.compute_laws.items() if region == answer.target}
    target = answer.table.select(region=answer.target)
    figures = {
        "score-by-region": plot_score_against_compute(answer.table, laws),
        "score-by-family": plot_score_against_compute(
            target, parts, by="family", heading=f"{answer.target} alignment against training compute"
        ),
    }
    for name, figure in figures.items():
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=150)
    return files


def print_answer(answer: StudyAnswer, console: Console) -> None:
    """The table of laws, then the recipe at ten times the largest run's compute."""
    simulated = " (simulated recordings)" if answer.table.names_simulated() else ""
    table = Table(title=f"Laws of misalignment L = 1 - score{simulated}, 95 % bootstrap intervals", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("region", "family", "models", "alpha of C", "alpha of N", "beta of D"):
        table.add_column(column, no_wrap=True)
    for (family, region), law in sorted(answer.compute_laws.items(), key=lambda item: _order(item[0][1])):
        size_law = answer.size_laws[family, region]
        table.add_row(
            region, family, str(law.n_configurations),
            exponent(law, "alpha"), exponent(size_law, "alpha"), exponent(size_law, "beta"),
        )  # fmt: skip
    console.print(table)
    console.print("L = E + A·C^-alpha, and L = E + A·N^-alpha + B·D^-beta; weak: weakly identified", highlight=False)
    for (family, region), reason in answer.refused.items():
        console.print(f"no law for {region}, {family}: {reason}", highlight=False)
    for reason, count in answer.table.left_out.items():
        console.print(f"left out: {count} x {reason}", highlight=False)
    budget = BEYOND * float(answer.table.values("flops").max())
    print_recipe(answer.allocate(budget), budget, answer.target, console)


def exponent(law: FittedLaw, name: str) -> str:
    """An exponent and its interval, 'weak' where it is weakly identified; the law's status where it has no number."""
    if not law.usable:
        return law.status
    low, high = law.interval(name)
    return f"{law.params[name]:.2g} [{low:.2g}, {high:.2g}]{'' if law.status == 'ok' else ' weak'}"


def print_recipe(allocations: dict[str, Allocation], flops: float, region: str, console: Console) -> None:
    """One column a family: the split of the budget, the predicted scores, how far it extrapolates."""
    console.print(f"\nRecipe for {flops:.3g} FLOP, best for {region}", highlight=False)
    for family, allocation in allocations.items():
        console.print(f"\n[bold]{family}[/bold]")
        console.print(allocation.text(), highlight=False, markup=False)


def recipe_json(allocations: dict[str, Allocation], region: str) -> dict[str, Any]:
    return {"region": region, "families": {name: a.to_dict() for name, a in allocations.items()}}


def _order(region: str) -> int:
    return TARGET_ORDER[::-1].index(region) if region in TARGET_ORDER else len(TARGET_ORDER)
