"""The report of a study: its answer as one page, and, where they were made, power before and proof after."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.answers.answering import Answer
from analysis.answers.drawing import family_figure, optimum_figure
from analysis.answers.laws import Fitted, trend_law
from analysis.answers.proof import power_section, rates_section, training_section, verification_section
from analysis.answers.saved import file_names
from analysis.columns import ACCURACY
from analysis.figures.accuracy_alignment import plot_twins
from analysis.figures.cells import Statement
from analysis.figures.diagnostics import plot_residuals
from analysis.figures.mapping_sections import mapping_sections
from analysis.figures.page import Report, Section
from analysis.fit.law import FittedLaw
from analysis.tradeoff.twins import find_twins


def study_report(answer: Answer) -> Report:
    """The page of a study: trends, status of each form, the plane of N and D, laws with bands, residuals.

    Then what the grid could be expected to show, and predictions beside what came of them, where there are any.
    Nothing is fitted.
    """
    table = answer.rows.table
    report = Report(table, heading="Scaling study", laws=_laws(answer), statements=list(_statements(answer)))
    names = file_names(answer.families)
    report.recipes = {f"recipe-{names[family]}.json": recipe for family, recipe in answer.recipes.items()}
    proof = (power_section(answer), verification_section(answer), rates_section(answer))
    mapping = mapping_sections(answer.mapping) if answer.mapping else ()
    first = training_section(answer.training)
    made = (first, *_planes(answer), *_curves(answer), *mapping, _residuals(answer), *proof, _twins(answer))
    report.sections = [section for section in made if section is not None]
    report.skipped = _skipped(answer)
    return report


def _statements(answer: Answer) -> Iterator[Statement]:
    """What is told of each family in each region, and the law in compute of each beside it."""
    for (region, family), compute in answer.laws.compute.items():
        told = trend_law(answer.laws, region, family)
        if told is not None:
            yield Statement(f"{region}, {family}", *told)
        if isinstance(compute, FittedLaw) and (told is None or told[0] is not compute):
            yield Statement(f"{region}, {family}, in compute", compute, told=told is None)


def _laws(answer: Answer) -> dict[str, FittedLaw]:
    compute = {f"{region}, {family}, in compute": law for (region, family), law in answer.laws.compute.items()}
    named = {**answer.laws.size, **_repeated(answer), **compute}
    return {name: law for name, law in named.items() if isinstance(law, FittedLaw)}


def _repeated(answer: Answer) -> dict[str, Fitted]:
    return {f"{region}, repeated images": law for region, law in answer.laws.repeated.items()}


def _skipped(answer: Answer) -> dict[str, str]:
    """Laws that the rows cannot be asked for, and what was left out of those that they can."""
    compute = {f"{region}, {family}, in compute": law for (region, family), law in answer.laws.compute.items()}
    refused = {name: law for name, law in {**answer.laws.size, **compute}.items() if isinstance(law, str)}
    lost = {
        f"{region}: left out": "; ".join(f"{n} rows, {reason}" for reason, n in reasons.items())
        for region, reasons in answer.left_out().items()
        if reasons
    }
    return {**refused, **lost}


def _planes(answer: Answer) -> Iterator[Section]:
    for family, name in file_names(answer.families).items():
        recipe = answer.recipes.get(family)
        figure = optimum_figure(recipe, answer.rows.regions, family) if recipe else None
        if recipe is not None and figure is not None:
            asked = answer.allocate(answer.budget, answer.target, family)
            words = recipe.compute.text() if recipe.compute else f"No compute map: {recipe.compute_reason}"
            yield Section(
                f"plane-{name}", f"{family}: size and data",
                "Contours are the predicted score, dotted lines cost the same, points were trained; the line is the "
                f"compute-optimal path. {words}. Below: the recipe at ten times the largest run's compute, best for "
                f"{answer.target}.",
                figure, asked.text(),
            )  # fmt: skip


def _curves(answer: Answer) -> Iterator[Section]:
    for family, name in file_names(answer.families).items():
        yield Section(
            f"laws-{name}", f"{family}: score against compute",
            "Each mark is a trained model. The line is S = 1 − E − A·C^−α, dashed beyond the compute measured; the "
            "band is the 95 % bootstrap over configurations, not the spread of models. A panel without a line has no "
            "usable law.",
            family_figure(answer.laws, answer.rows.table, family),
        )  # fmt: skip


def _residuals(answer: Answer) -> Section | None:
    """Of the laws of N and D; of a region without one that is usable, of its laws in compute."""
    laws: dict[str, FittedLaw] = {}
    for region, size in answer.laws.size.items():
        if isinstance(size, FittedLaw) and size.usable:
            laws[region] = size
            continue
        own = {(r, f): law for (r, f), law in answer.laws.compute.items() if r == region}
        laws |= {f"{r}, {f}": law for (r, f), law in own.items() if isinstance(law, FittedLaw) and law.usable}
    if not laws:
        return None
    words = "What each law leaves over, against compute. A running median off zero means the form bends wrong there."
    return Section("residuals", "Residuals", words, plot_residuals(laws))


def _twins(answer: Answer) -> Section | None:
    twins = find_twins(answer.rows.table)
    regions = {region: rows for region, rows in answer.rows.regions.items() if region != ACCURACY}
    figure = plot_twins(regions, twins) if twins else None
    if figure is None:
        return None
    words = "Arrows lead from a baseline to its twin, which is trained alike but for the objective: means over seeds."
    return Section("twins", "What the objective changes", words, figure)
