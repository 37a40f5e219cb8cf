"""What a study answers: laws of accuracy and every region, a recipe a family, figures; fitted once, then saved."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from analysis import (
    Allocation,
    FittedLaw,
    Recipe,
    ScalingTable,
    fit_law,
    plot_isoflop_contours,
    plot_score_against_compute,
)
from analysis.columns import ACCURACY, check
from jobs.twins import Twins, name_objectives, study_twins, twins_figure
from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.storage import Storage

BOOTSTRAP = 300
BEYOND = 10.0  # the recipe printed at the end of a run is for this many times the largest run's compute
LAWS_WIDTH = 100
REGION_ORDER = (ACCURACY, "V1", "V2", "V4", "behavior", "IT")
FOLDER = "answer"
SIMULATED = "simulated"  # in the name of every benchmark that is
ANSWER_VERSION = 3  # raise it when fits or their table change: saved answers are then made anew
LEGEND = (
    "L = E + A·C^-alpha a family; L = E + A·N^-alpha + B·D^-beta with exponents shared by the families;\n"
    "[95 % bootstrap interval]; ~ weakly identified"
)
INDEX = f"{FOLDER}/index.json"

Fitted = FittedLaw | str  # a law, or why the rows cannot be asked for one


@dataclass(frozen=True)
class StudyLaws:
    """compute: (region, family) -> L = E + A·C^-alpha, each family alone.

    size: region -> L = E + A·N^-alpha + B·D^-beta with E, A, B of each family and exponents shared by the families.
    """

    compute: dict[tuple[str, str], Fitted]
    size: dict[str, Fitted]


@dataclass(frozen=True)
class StudyAnswer:
    """Recipes by family from L = E + A·N^-alpha + B·D^-beta, and the printed table of all laws.

    In a study of several objectives each family is one family an objective.

    target: the region that recipes are made for unless one is named (IT where it was scored); 'accuracy' is asked for
    like a region. budget: compute of the recipe shown at the end of a run. Several benchmarks of one region enter the
    fits as their mean.
    """

    target: str
    regions: tuple[str, ...]
    budget: float
    laws: str
    recipes: dict[str, Recipe]

    def allocate(self, flops: float, region: str | None = None, family: str | None = None) -> dict[str, Allocation]:
        """The recipes' split of a budget, by family.

        Raises:
            StudyError: an unknown region or family (lists the known), flops not above 0.
        """
        for kind, name, known in (("region", region, self.regions), ("family", family, tuple(self.recipes))):
            if name is not None and name not in known:
                raise StudyError(f"unknown {kind} '{name}'; this study has {', '.join(known)}")
        try:
            return {
                name: recipe.allocate(flops, region or self.target)
                for name, recipe in self.recipes.items()
                if family in (None, name) and (region or self.target) in recipe.laws
            }
        except ValueError as error:
            raise StudyError(str(error)) from error


def answer_study(study: Study) -> StudyAnswer:
    """The saved answer if it was made from the very scores that the store holds, else a new one, saved.

    Raises:
        StudyError: nothing is scored yet.
    """
    frame = study.table()
    table = name_objectives(ScalingTable(check(frame, study.name), frame.attrs["left_out"]))
    mark = fingerprint(table)
    return _load(study.storage, mark) or _fit_and_save(study.storage, table, mark, study_twins(study.spec))


def fingerprint(table: ScalingTable) -> str:
    """Changes with every value that a fit reads, and with how fits are made here."""
    times = [name for name in ("train_s", "score_s", "started_at", "ended_at", "spec") if name in table.columns]
    rows = table.frame.drop(columns=times)
    text = rows.sort_values(["run_id", "benchmark"]).to_csv(index=False) + repr((ANSWER_VERSION, BOOTSTRAP))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def answer_files(storage: Storage) -> list[str]:
    """Names of what was saved: recipes (JSON), the laws (text), figures (PNG)."""
    return [f"{FOLDER}/{name}" for name in storage.names(FOLDER)]


def _load(storage: Storage, mark: str) -> StudyAnswer | None:
    if not storage.exists(INDEX):
        return None
    index = json.loads(storage.read_bytes(INDEX))
    if index["fingerprint"] != mark:
        return None
    recipes = {}
    for family, name in index["recipes"].items():
        with storage.local_file(name) as path:
            recipes[family] = Recipe.load(path)
    laws = storage.read_bytes(f"{FOLDER}/laws.txt").decode()
    return StudyAnswer(index["target"], tuple(index["regions"]), index["budget"], laws, recipes)


def _fit_and_save(storage: Storage, scores: ScalingTable, mark: str, twins: Twins | None) -> StudyAnswer:
    table = scores.with_accuracy()
    laws = fit_study(table)
    recipes = study_recipes(laws, table)
    regions = tuple(by_region(table))
    budget = BEYOND * float(table.values("flops").max())
    answer = StudyAnswer(regions[-1], regions, budget, laws_text(laws, table), recipes)
    names = {family: f"{FOLDER}/recipe-{file_name(family)}.json" for family in recipes}
    for family, recipe in recipes.items():
        with storage.new_file(names[family]) as path:
            recipe.save(path)
    for family in table.unique("family"):
        _save_figure(storage, f"score-against-compute-{file_name(family)}", family_figure(laws, table, family))
    for family, recipe in recipes.items():
        _save_figure(storage, f"compute-optimal-{file_name(family)}", optimum_figure(recipe, table, family))
    figure = twins_figure(by_region(scores), twins) if twins else None
    if figure is not None:
        _save_figure(storage, "accuracy-alignment", figure)
    storage.write_bytes(f"{FOLDER}/laws.txt", answer.laws.encode())
    index = {"fingerprint": mark, "recipes": names, "target": answer.target, "regions": regions, "budget": budget}
    storage.write_bytes(INDEX, json.dumps(index, indent=2).encode())
    return answer


def file_name(family: str) -> str:
    """A family's name where it is part of a file's."""
    return re.sub(r"[^\w.-]+", "-", family)


def _save_figure(storage: Storage, name: str, figure: Figure) -> None:
    with storage.new_file(f"{FOLDER}/{name}.png") as path:
        figure.savefig(path, dpi=150, format="png")


def fit_study(table: ScalingTable, seed: int = 0) -> StudyLaws:
    """Every law of a study, with bootstrap intervals."""
    shared = "family" if len(table.unique("family")) > 1 else None
    compute: dict[tuple[str, str], Fitted] = {}
    size: dict[str, Fitted] = {}
    for region, rows in by_region(table).items():
        size[region] = _fit(rows, form="chinchilla", axes=("n_params", "samples_seen"), shared_by=shared, seed=seed)
        for family, part in rows.group("family"):
            compute[region, str(family)] = _fit(part, form="power_law", axes=("flops",), seed=seed)
    return StudyLaws(compute, size)


def _fit(rows: ScalingTable, **spec: Any) -> Fitted:
    """A law with bootstrap draws where it is usable: nothing asks for the intervals of one that is not."""
    try:
        law = fit_law(rows, bootstrap=0, **spec)
        return fit_law(rows, bootstrap=BOOTSTRAP, **spec) if law.usable else law
    except ValueError as error:  # rows that no law can be asked of, such as a single model size
        return str(error)


def study_recipes(laws: StudyLaws, table: ScalingTable) -> dict[str, Recipe]:
    """One recipe a family, over all regions that have a law."""
    fitted = {region: law for region, law in laws.size.items() if isinstance(law, FittedLaw)}
    families = [str(family) for family in table.unique("family")]
    grouped = len(families) > 1
    return {family: Recipe.from_laws(fitted, group=family if grouped else "") for family in families if fitted}


def family_figure(laws: StudyLaws, table: ScalingTable, family: str) -> Figure:
    """Score against compute of one family, a panel a region; laws that the data do not identify are not drawn."""
    usable = {
        region: law
        for (region, name), law in laws.compute.items()
        if name == family and isinstance(law, FittedLaw) and law.usable
    }
    heading = f"{family}: alignment against training compute"
    return plot_score_against_compute(table.select(family=family), usable, heading=heading)


def optimum_figure(recipe: Recipe, table: ScalingTable, family: str) -> Figure:
    """Predicted accuracy and score of one family over N and D, with the compute-optimal path."""
    regions = by_region(table.select(family=family))
    named = dict.fromkeys((ACCURACY, [*regions][-1]))
    shown = {name: regions[name] for name in named if name in regions and name in recipe.laws}
    return plot_isoflop_contours(shown, recipe, f"{family}: predicted score and the compute-optimal path")


def by_region(rows: ScalingTable) -> dict[str, ScalingTable]:
    """One table a region, IT last; several benchmarks of a region enter as their mean, simulated ones apart."""
    regions: dict[str, ScalingTable] = {}
    for region, part in rows.group("region"):
        simulated = np.array([SIMULATED in name for name in part.frame["benchmark"]])
        if simulated.all() or not simulated.any():
            regions[str(region)] = part
        else:
            regions |= {str(region): part.where(~simulated), f"{SIMULATED} {region}": part.where(simulated)}
    return {
        region: part.mean_over("benchmark") if len(part.unique("benchmark")) > 1 else part
        for region, part in sorted(regions.items(), key=lambda item: _order(item[0]))
    }


def laws_text(laws: StudyLaws, table: ScalingTable) -> str:
    """The table of laws, why some have no numbers, and what was left out of the fits."""
    console = Console(file=io.StringIO(), width=LAWS_WIDTH)
    simulated = " (simulated recordings)" if table.names_simulated() else ""
    grid = Table(
        title=f"Laws of error and misalignment, L = 1 - score{simulated}", title_justify="left", box=box.SIMPLE_HEAD
    )
    for column in ("region", "family", "runs", "alpha of C", "alpha of N", "beta of D"):
        grid.add_column(column, no_wrap=True)
    shown: set[str] = set()
    for (region, family), law in laws.compute.items():
        size = laws.size[region]
        joint = [exponent(size, name) for name in ("alpha", "beta")] if region not in shown else ["", ""]
        runs = str(law.n_configurations) if isinstance(law, FittedLaw) else ""
        grid.add_row(region if region not in shown else "", family, runs, exponent(law, "alpha"), *joint)
        shown.add(region)
    console.print(grid)
    console.print(LEGEND, highlight=False)
    for reason in dict.fromkeys(law for law in (*laws.compute.values(), *laws.size.values()) if isinstance(law, str)):
        console.print(f"no law: {reason}", highlight=False)
    for reason, count in table.left_out.items():
        console.print(f"left out: {count} x {reason}", highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def exponent(law: Fitted, name: str) -> str:
    """An exponent and its interval, '~' where it is weakly identified; the law's status where it is not identified."""
    if isinstance(law, str):
        return "no law"
    if not law.usable:
        return law.status
    low, high = law.interval(name)
    return f"{'~ ' if name in law.verdict.weak else ''}{law.params[name]:.2g} [{low:.2g}, {high:.2g}]"


def print_answer(answer: StudyAnswer, console: Console) -> None:
    """The table of laws, then the recipe at ten times the largest run's compute."""
    console.print(answer.laws, highlight=False, markup=False, soft_wrap=True)
    print_recipe(answer.allocate(answer.budget), answer.budget, answer.target, console)


def print_recipe(allocations: Mapping[str, Allocation], flops: float, region: str, console: Console) -> None:
    """One block a family: the split of the budget, the predicted scores, how far it extrapolates."""
    console.print(f"Recipe for {flops:.3g} FLOP, best for {region}", highlight=False)
    for family, allocation in allocations.items():
        console.print(f"\n[bold]{family}[/bold]")
        console.print(allocation.text(), highlight=False, markup=False)


def recipe_json(allocations: Mapping[str, Allocation], region: str) -> dict[str, Any]:
    return {"region": region, "families": {name: a.to_dict() for name, a in allocations.items()}}


def local_copies(storage: Storage, folder: Path) -> list[Path]:
    """The saved files on a local disk, copied into `folder` where the study's storage is remote."""
    paths = []
    for name in answer_files(storage):
        if storage.is_local:
            paths.append(Path(storage.path(name)))
        else:
            paths.append(folder / name.rpartition("/")[2])
            paths[-1].write_bytes(storage.read_bytes(name))
    return paths


def _order(region: str) -> int:
    return REGION_ORDER.index(region) if region in REGION_ORDER else -1
