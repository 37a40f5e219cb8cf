"""`scaling verify`: cost and predictions before, outcomes after."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from analysis import Allocation, Answer
from analysis.figures.calibration import plot_calibration
from analysis.verify.calibration import calibrate, calibration_rows, verifications_text
from analysis.verify.verification import Verification

COLUMNS = ("", "model", "N", "images", "epochs", "samples", "C, FLOP")


@dataclass(frozen=True)
class Cost:
    """seconds: of training, or None where no run was timed; waiting: runs of the study that have not ended."""

    seconds: float | None
    waiting: int


def print_planned(found: Verification, answer: Answer, allocation: Allocation, cost: Cost, console: Console) -> None:
    """What is trained, what that costs, and what the laws say of it."""
    console.print(f"Verification of {found.study}: {found.headline()}", highlight=False, markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("", "model") else "right", no_wrap=True)
    for trial in found.trials:
        table.add_row(
            trial.label, trial.model, f"{trial.n_params:,}", f"{trial.n_samples:,}", f"{trial.epochs:,}",
            f"{trial.samples_seen:,}", f"{trial.flops:.3g}",
        )  # fmt: skip
    console.print(table)
    lines = [f"{trial.label}: {trial.how}" for trial in found.trials]
    if cost.waiting:
        lines.append(f"{cost.waiting} of the study's runs have not ended; its laws do not know them")
    lines += [f"left out: {reason}" for reason in found.left_out]
    time = "" if cost.seconds is None else f", about {duration(cost.seconds)} at the speed of the study's runs"
    lines.append(f"cost: {found.total_flops:.3g} FLOP{time}, seed {found.seed} (which the study has not)")
    beyond = {name: factor for name, factor in allocation.extrapolation.items() if factor > 1.005}
    if beyond:
        lines.append("beyond the study: " + ", ".join(f"{name} {factor:.2g}x" for name, factor in beyond.items()))
    if allocation.status != "ok":
        lines.append(f"the law is {allocation.status}: {allocation.why}")
    if found.law != answer.rows.mark:
        lines.append("predicted by the laws as they were before the study's scores changed; --again predicts anew")
    lines += _predictions(found)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds in the unit that people would say it in."""
    units = (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60))
    name, size = next(((name, size) for name, size in units if seconds >= 2 * size), ("s", 1))
    return f"{seconds / size:,.0f} {name}"


def _predictions(found: Verification) -> list[str]:
    lines = ["predicted, [95 % interval of the law's mean], and one run's, which adds the scatter of single runs:"]
    for trial in found.trials:
        lines += [
            f"  {trial.label:<18} {region:<10} {trial.predictions[region].text()}"
            for region in found.regions
            if region in trial.predictions
        ]
    return lines


def print_outcome(found: Verification, every: Sequence[Verification], console: Console) -> None:
    """What came out beside what was predicted, and how all verifications of the study stand."""
    for line in ["", found.text(), *calibrate(every).lines()]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def save_pages(every: Sequence[Verification], folder: Path) -> None:
    """All verifications as text, as JSON and as a figure with its data, into a folder."""
    (folder / "verifications.txt").write_text(verifications_text(every), encoding="utf-8")
    plain = json.dumps([one.to_dict() for one in every], indent=1)
    (folder / "verifications.json").write_text(plain, encoding="utf-8")
    rows = calibration_rows(every)
    figure = plot_calibration(every)
    if figure is None:
        return
    figure.savefig(folder / "calibration.png", dpi=150, format="png")
    with (folder / "calibration.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
