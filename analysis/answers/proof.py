"""Sections of a study's page: the untrained models, what its grid could find, predictions beside what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.answers.training import LEGEND, training_frame
from analysis.comparison.untrained import TrainingChange
from analysis.figures.calibration import plot_calibration
from analysis.figures.page import Section
from analysis.figures.rates import plot_rates
from analysis.power.grid import Grid
from analysis.power.power import NOTE, StudyPower, plan_power
from analysis.power.prior import assume_published
from analysis.rates.text import rates_text
from analysis.table import SIMULATED
from analysis.verify.calibration import verifications_text

if TYPE_CHECKING:
    from analysis.answers.answering import Answer

AXES = ("n_params", "n_samples", "samples_seen", "flops")


def training_section(changes: Sequence[TrainingChange]) -> Section | None:
    """None where no score before training is known."""
    if not changes:
        return None
    words = (
        "Every model beside itself before its first step. The architecture is the unit: its configurations share their "
        f"untrained scores. {LEGEND[0].upper()}{LEGEND[1:]}."
    )
    return Section("untrained", "Beside the untrained models", words, text="\n".join(one.sentence() for one in changes),
                   table=training_frame(changes))  # fmt: skip


def verification_section(answer: Answer) -> Section | None:
    """None before a model of a verification has its score."""
    figure = plot_calibration(answer.verifications)
    if figure is None:
        return None
    return Section(
        "calibration", "Verifications: predicted before training, and got",
        "Each mark is a model that no law was fitted to; on the line is what was predicted. Thick: the law's 95 % "
        "interval, of the mean of such runs; thin: that of a single run.",
        figure, verifications_text(answer.verifications),
    )  # fmt: skip


def rates_section(answer: Answer) -> Section | None:
    """None of a study whose rates were written by hand."""
    if answer.rates is None:
        return None
    return Section(
        "rates", "Rates",
        "How the learning rates were found that the runs were trained at. Marks are probes that were trained to their "
        "end, on a validation split of the training images; lines are parabolas of ln loss in ln rate.",
        plot_rates(answer.rates), rates_text(answer.rates),
    )  # fmt: skip


def power_section(answer: Answer) -> Section | None:
    """The chances of the study's grid under published laws, whatever was found since; None where nothing is published.

    What a study found says nothing of the power that it had; the laws of other studies do.
    """
    power = grid_power(answer)
    rows = [
        {"region": row.region, "family": row.family, "falls": row.chances.falls, "usable": row.chances.usable,
         "assumed change of ln y": row.chances.change}
        for row in power.rows if row.chances is not None
    ]  # fmt: skip
    if not rows:
        return None
    said = [w for row, w in ((row, row.warning()) for row in power.rows) if w and row.chances is not None]
    words = (
        "What this grid could be expected to find if published laws held: the chance that a fall is found, and that "
        f"the form is usable. {NOTE}"
    )
    return Section("power", "Power of the grid", words, text="\n".join(said), table=pd.DataFrame(rows))


def grid_power(answer: Answer) -> StudyPower:
    """The power of the grid that was trained, by region and family."""
    table = answer.rows.table
    runs = table.frame.drop_duplicates("run_id" if "run_id" in table.columns else list(AXES)).dropna(subset=list(AXES))
    grids = {str(f): Grid.of_runs(*(part[a].to_numpy(np.float64) for a in AXES)) for f, part in runs.groupby("family")}
    laws = {
        (region, family): assume_published(region.removeprefix(f"{SIMULATED} "), grids[family]) or "nothing published"
        for region in answer.regions
        for family in answer.families
        if family in grids
    }
    return plan_power(grids, laws, float(runs["n_samples"].max()))
