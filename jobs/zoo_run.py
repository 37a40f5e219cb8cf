"""`scaling run`, `plan`, `status` and `report` of a zoo study."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.progress_line import ZooProgress
from scaling.cluster.stopping import INCOMPLETE, Stopped, files_refused, stop_switch
from scaling.cluster.zoo import ZooHearers, check_zoo, score_zoo
from scaling.errors import StorageError
from scaling.zoo.model import PUBLISHED, RANDOM
from scaling.zoo.study import TABLE_FILE, ZooStudy

if TYPE_CHECKING:
    from analysis.figures.page import Report
    from scaling.cluster.driver import RunOptions


def run_zoo(study: ZooStudy, options: RunOptions, console: Console) -> int:
    """Score what is missing, write the table and the page; the exit status. One interrupt ends it with one line.

    Raises:
        StudyError: anything that makes the study impossible, before the first model.
    """
    study.storage.check_writable()
    say = partial(console.print, highlight=False, soft_wrap=True)
    with stop_switch() as switch:
        try:
            with study.locked(say, lambda why: switch.stop(Stopped(f"{why}: nothing goes on here"))):
                work = study.open_work()
                check_zoo(study, work, options.data_dir, options.address)
                if work:
                    with switch.instead():
                        score_zoo(study, work, options, ZooHearers(partial(ZooProgress, console), switch))
        except (Stopped, StorageError, OSError) as error:
            end = error if isinstance(error, Stopped) else files_refused(error)
            say(end.line)
            return end.status
    study.write_table()
    print_table(study, console)
    left = study.open_work()
    if left:
        console.print(f"unfinished: {len(left)} models lack scores; run again to try them again", highlight=False)
    console.print(f"table: {study.storage.path(TABLE_FILE)} (figures: scaling report STUDY --out FOLDER)",
                  highlight=False, soft_wrap=True)  # fmt: skip
    return INCOMPLETE if left else 0


def print_table(study: ZooStudy, console: Console) -> None:
    """One row a model: N, GFLOP, published accuracy, year, data, and its scores."""
    rows = study.by_model()
    names = list(study.protocols)
    table = Table(title=f"{study.name}: {len(rows)} models", title_justify="left", box=box.SIMPLE_HEAD)
    words = ("model", "weights", "data")
    for column in (*words, "px", "N", "GFLOP", "accuracy", "year", *names):
        is_text = column in words
        table.add_column(column.rpartition(".")[2], justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows:
        facts = [_cell(row["image_size"], "d"), _cell(row["n_params"], ",d"), _cell(row["flops_per_image"], "g", 1e-9)]
        told = [_cell(row["accuracy"], ".3f"), _cell(row["year"], "d")]
        said = [row["label"].split(" (")[0], _weights(row["weights"]), row["dataset"] or ""]
        table.add_row(*said, *facts, *told, *(_cell(row[name], ".3f") for name in names))
    console.print(table)
    for row in rows:
        if row["status"] == "failed":
            console.print(f"{row['label']}: {row['reason']}", highlight=False, soft_wrap=True)


def _weights(told: str) -> str:
    return told if told in (RANDOM, PUBLISHED) else "own"


def _cell(value: float | None, form: str, factor: float = 1.0) -> str:
    if value is None:
        return ""
    return format(int(value) if form.endswith("d") else round(value * factor, 3), form)


def print_zoo_status(study: ZooStudy, console: Console) -> None:
    """How many models are scored, and which failed."""
    work = study.open_work()
    failed = [model for model in work if model.model_id in study.records and study.records[model.model_id].reason]
    for model in failed:
        console.print(f"failed: {model.label}: {study.records[model.model_id].reason}", highlight=False, soft_wrap=True)
    n, left = len(study.models), len(work)
    console.print(f"{study.name}: {n} models: {n - left} scored, {left} to score ({len(failed)} of them failed)",
                  highlight=False)  # fmt: skip


def plan_zoo(study: ZooStudy, data_dir: Path, address: str | None, console: Console) -> None:
    """The models, and what is to be scored.

    Raises:
        StudyError: what would be refused before the first model, missing weights too.
    """
    work = study.open_work()
    check_zoo(study, work, data_dir, address)
    table = Table(title=f"{len(study.models)} models", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("model", "family", "year", "data", "to score"):
        table.add_column(column)
    for model in study.models:
        open_ = str(len(work.get(model, ()))) if model in work else "done"
        table.add_row(model.label, model.family, _cell(model.year, "d"), model.data or "", open_)
    console.print(table)


def zoo_report(study: ZooStudy) -> Report:
    """The page of a zoo: accuracy against alignment, and the table of all models."""
    from analysis import ScalingTable, build_report

    return build_report(ScalingTable.from_frame(study.table()))
