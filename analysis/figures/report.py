"""Every law and figure that a table supports, explained in two lines, and what it does not support, with a reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.columns import REGIONS
from analysis.comparison.pairwise import compare_models
from analysis.figures.accuracy_alignment import plot_tradeoff
from analysis.figures.cells import Statement, law_note
from analysis.figures.compute import plot_score_against_compute
from analysis.figures.diagnostics import plot_extrapolation, plot_residuals
from analysis.figures.mapping_sections import mapping_sections
from analysis.figures.page import Report, Section
from analysis.figures.pairs import plot_pairs
from analysis.figures.split import plot_isoflop_contours, plot_optimum
from analysis.figures.style import in_order
from analysis.fit.extrapolate import Extrapolation, compare_forms
from analysis.fit.families import FamilyComparison, compare_families
from analysis.fit.law import FittedLaw
from analysis.fit.once import Fits
from analysis.mapping.curves import has_curves
from analysis.mapping.laws import fit_mapping
from analysis.recipe.crosscheck import compute_envelope, isoflop_profiles
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable
from analysis.tradeoff.tradeoff import Tradeoff, analyze_tradeoff

NEURAL = REGIONS[:4]
FLAGS = ("is_pretrained", "is_random", "is_ssl", "is_adv", "is_ablation", "is_open_clip")
MAIN_SHARE = 0.1
MAPPING_DRAWS = 200  # of each law over stimuli: a zoo has hundreds


def build_report(
    table: ScalingTable, bootstrap: int = 500, seed: int = 0, threshold_flops: float | None = None,
    allocate_on: str = "score",
) -> Report:  # fmt: skip
    """Fit everything the table supports, and draw it. What it does not support is listed with the reason.

    Rows flagged as pretrained, random, self-supervised, adversarial or ablation are left out, counted; datasets with
    less than MAIN_SHARE of the rows appear in the figure by dataset alone. threshold_flops: compute below which the
    extrapolation test fits (default: the median); allocate_on: the target whose law splits compute: "score" (mean
    over regions) or a region.
    """
    everything = plain_rows(table)
    report, fit = Report(main_datasets(everything)), Fits(bootstrap=bootstrap, seed=seed)
    steps: dict[str, Callable[[], None]] = {
        "split of compute": lambda: _split(report, fit, allocate_on),
        "compute": lambda: _compute(report, fit),
        "regions": lambda: _panels(report, report.table, "region", fit),
        "families": lambda: _panels(report, _mean(report.table), "family", fit),
        "datasets": lambda: _panels(report, _mean(everything), "dataset", fit),
        "residuals": lambda: _residuals(report),
        "extrapolation": lambda: _extrapolation(report, threshold_flops),
        "accuracy": lambda: _accuracy(report, bootstrap, seed),
    }
    if "draws" in table.columns and {"label", "model"} & set(table.columns):
        steps["pairs of models"] = lambda: _pairs(report)
    if has_curves(table):
        steps["stimuli of the mapping"] = lambda: _mapping(report, table, bootstrap, seed)
    for name, step in steps.items():
        try:
            step()
        except ValueError as error:
            report.skipped[name] = str(error)
    report.statements = _statements(report.laws)
    return report


def _statements(laws: dict[str, FittedLaw]) -> list[Statement]:
    """What each law says; of the same law by two names (a region that is a target of its own) once."""
    once = {id(law): name for name, law in reversed(laws.items())}
    return [Statement(name, law) for name, law in laws.items() if once[id(law)] == name]


def plain_rows(table: ScalingTable) -> ScalingTable:
    """Rows with compute and score whose models carry none of FLAGS; what drops out is counted.

    A table without compute, such as a zoo's, has no laws that other models would disturb: all its scores stay.
    """
    if "flops" not in table.columns:
        return table.require("score")
    rows = table.require("flops", "score")
    for flag in FLAGS:
        if flag in rows.columns:
            rows = rows.where(~rows.column(flag).astype(bool).to_numpy(), flag)
    return rows


def main_datasets(table: ScalingTable) -> ScalingTable:
    """Rows of the datasets that hold MAIN_SHARE of the rows at least."""
    if "dataset" not in table.columns:
        return table
    share = table.column("dataset").value_counts(normalize=True)
    keep = table.column("dataset").isin(share.index[share >= MAIN_SHARE]).to_numpy()
    return table.where(keep, "dataset with few models") if keep.any() else table


def _targets(table: ScalingTable) -> dict[str, ScalingTable]:
    """ "neural" (mean over V1, V2, V4, IT) and "behavior", or "score" where there are no regions."""
    if "region" not in table.columns:
        return {"score": table}
    regions = table.unique("region")
    neural = [r for r in regions if r in NEURAL]
    found = {"neural": table.select(region=neural).mean_over("region")} if neural else {}
    return found | {str(r): table.select(region=r) for r in regions if r not in NEURAL}


def _mean(table: ScalingTable) -> ScalingTable:
    return table.mean_over("region") if "region" in table.columns else table


def _compute(report: Report, fit: Fits) -> None:
    tables = _targets(report.table)
    laws = {name: fit(rows) for name, rows in tables.items()}
    report.laws |= laws
    for name, rows in tables.items():
        report.sections.append(Section(
            f"compute_{name}", f"{name}: score against compute",
            "Each mark is a trained model. The line is S = 1 − E − A·C^−α, dashed beyond the compute measured; "
            "the band is the 95 % bootstrap over configurations, not the spread of models.",
            plot_score_against_compute(rows.with_columns(target=name), laws, by="target",
                                       heading=f"{name}: alignment against compute"),
            laws[name].text(),
        ))  # fmt: skip


WORDS = {
    "region": "One law a region. Regions differ in how fast they gain and where they saturate; "
              "a law that is not identified is dotted and named as such.",
    "family": "One law an architecture family, mean over regions. At small compute families differ by their built-in "
              "biases; where their laws cross is listed below with intervals.",
    "dataset": "One law a training dataset, mean over regions. Few models on a dataset give a wide band, "
               "or no law at all.",
}  # fmt: skip


def _panels(report: Report, rows: ScalingTable, by: str, fit: Fits) -> None:
    if by not in rows.columns:
        raise ValueError(f"the table has no column {by!r}")
    comparison = compare_families(rows, by, fit)
    found = {**comparison.laws, **comparison.refused}
    report.laws |= {f"{by} {name}": found[name] for name in in_order(list(found))}
    notes = {
        name: law_note(found[name]) if name in found else why.split(";")[0] for name, why in comparison.excluded.items()
    }
    figure = plot_score_against_compute(rows, comparison.laws, None, by, f"Alignment against compute by {by}", notes)
    report.sections.append(Section(f"by_{by}", f"By {by}", WORDS[by], figure, _comparison_text(comparison, by, rows)))


def _comparison_text(comparison: FamilyComparison, by: str, rows: ScalingTable) -> str:
    if by == "region" or not comparison.laws:
        return "\n".join(f"{name}: {why}" for name, why in comparison.excluded.items())
    flops = rows.values("flops")
    return comparison.text([float(c) for c in np.geomspace(np.median(flops), flops.max(), 3)])


def _split(report: Report, fit: Fits, allocate_on: str) -> None:
    rows = _mean(report.table) if allocate_on == "score" else report.table.select(region=allocate_on)
    rows = rows.require("n_params", "samples_seen")
    rows = rows.where(rows.values("samples_seen") > 0, "samples_seen is 0")
    law = fit(rows, "chinchilla", ("n_params", "samples_seen"))
    report.laws["N and D"] = law
    recipe = report.recipes["recipe.json"] = Recipe.from_law(law)
    frontiers = (isoflop_profiles(rows), compute_envelope(rows))
    top = float(rows.values("flops").max())
    answers = [recipe.allocate(c).text() for c in (top, 10 * top)]
    words = recipe.compute.text() if recipe.compute else f"no compute map: {recipe.compute_reason}"
    report.sections.append(Section(
        "isoflop", "Size and data: predicted score, equal compute, optimum",
        f"Contours are the predicted score; dotted lines cost the same. {words}.",
        plot_isoflop_contours(rows, recipe), law.text() + "\n\n" + "\n\n".join(answers),
    ))  # fmt: skip
    report.sections.append(Section(
        "optimum", "How to split compute",
        "The law's optimum and its band, beside two methods that do not assume the law: minima of isoFLOP profiles and "
        "the best run at each compute. Where they part, the runs do not cover the plane evenly.",
        plot_optimum(rows, recipe, frontiers), "\n".join(f.text() for f in frontiers),
    ))  # fmt: skip


def _residuals(report: Report) -> None:
    laws = {
        name: law
        for name, law in report.laws.items()
        if name in ("neural", "behavior", "score", "N and D") and law.usable
    }
    if not laws:
        raise ValueError("no usable law")
    report.sections.append(Section(
        "residuals", "Residuals",
        "What each law leaves over, against compute. A running median off zero means the form bends wrong there.",
        plot_residuals(laws),
    ))  # fmt: skip


def _extrapolation(report: Report, threshold: float | None) -> None:
    tests: dict[str, Extrapolation] = {}
    for name, rows in _targets(report.table).items():
        if "samples_seen" in rows.columns:
            rows = rows.where(~(rows.values("samples_seen") <= 0), "samples_seen is 0")
        tests[name] = compare_forms(rows, threshold)
    report.sections.append(Section(
        "extrapolation", "Extrapolation",
        "Every form is fitted on the cheap runs and predicts the dear ones; the dark bar predicted best. "
        "Compare with the constant, which knows nothing of scaling, and with power_law in compute, the published form.",
        plot_extrapolation(tests, report.table.names_simulated()),
        "\n\n".join(f"{n}\n{t.text()}" for n, t in tests.items()),
    ))  # fmt: skip


def _accuracy(report: Report, bootstrap: int, seed: int) -> None:
    """One section a dataset, or what the accuracy is of where the table says it: different tasks do not compare."""
    if "accuracy" not in report.table.columns or "region" not in report.table.columns:
        raise ValueError("the table lacks accuracy or region")
    rows = report.table.require("accuracy")
    apart = next((name for name in ("accuracy_of", "dataset") if name in rows.columns), None)
    datasets = [("all", rows)] if apart is None else list(rows.group(apart))
    for dataset, part in datasets:
        found = _tradeoffs(report, str(dataset), part, bootstrap, seed)
        if found:
            report.sections.append(Section(
                f"accuracy_{_file_name(dataset)}", f"Accuracy on {dataset} against alignment",
                "Rank correlation ρ of task accuracy and score, up to 70 % accuracy and above it. The dash-dotted line "
                "breaks once, the shaded band is its interval; family is confounded with accuracy, see the text.",
                plot_tradeoff(found), "\n".join(_tradeoff_text(t) for t in found),
            ))  # fmt: skip


def _file_name(text: object) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in str(text))


def _tradeoffs(report: Report, dataset: str, rows: ScalingTable, bootstrap: int, seed: int) -> list[Tradeoff]:
    found = []
    for region in in_order(rows.unique("region")):
        try:
            found.append(analyze_tradeoff(rows, region, bootstrap=bootstrap, seed=seed))
        except ValueError as error:
            report.skipped[f"accuracy, {dataset}, {region}"] = str(error)
    return found


def _mapping(report: Report, table: ScalingTable, bootstrap: int, seed: int) -> None:
    laws = fit_mapping(table, by_subject=False, bootstrap=min(bootstrap, MAPPING_DRAWS), seed=seed)
    report.sections += mapping_sections(laws)


def _pairs(report: Report) -> None:
    found = []
    for benchmark in report.table.unique("benchmark"):
        try:
            found.append(compare_models(report.table, str(benchmark)))
        except ValueError as error:
            report.skipped[f"pairs of models, {benchmark}"] = str(error)
    if found:
        report.sections.append(Section(
            "pairs", "Pairs of models",
            "Raw of the row's model minus raw of the column's, best model first. A dot: they differ beyond what other "
            "stimuli and units (and subjects, where they are named) would change, p < 0.05 by Holm over all pairs.",
            plot_pairs(found), "\n".join(one.text() for one in found), pd.concat([one.frame() for one in found]),
        ))  # fmt: skip


def _tradeoff_text(tradeoff: Tradeoff) -> str:
    within = ", ".join(f"{n} {c.rho.value:.2f} (n = {c.n})" for n, c in tradeoff.families.items())
    return f"{tradeoff.text()}\n          within family: {within}"
