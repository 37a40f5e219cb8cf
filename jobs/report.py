"""`scaling report`: the page of a study, of a results folder or of a table, told apart by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis import ScalingTable, answer, build_report, study_report
from analysis.figures.page import Report
from jobs.arguments import opened
from jobs.tables import read_table
from scaling.errors import StudyError

STUDY_COLUMNS = ("study", "run_id", "family", "region", "accuracy")


def report_of(
    source: Path | None, table: Path | None, where: Mapping[str, Any], columns: Mapping[str, str], storage: str | None
) -> Report:
    """The report of the one of source and table that is given.

    A study file: its answer, as saved. A results folder, or a table that a study wrote: an answer made of it. Another
    table, or whatever `table` names: every law of its rows.

    Raises:
        StudyError: none or both of them; rows chosen or columns named of a study file; a storage of anything else.
    """
    if (source is None) == (table is None):
        raise StudyError("report: give one STUDY, TABLE or RESULTS_FOLDER, or a table as --table PATH")
    if source is not None and source.suffix in {".yaml", ".yml"}:
        _refuse("--where", where, "a study's report is of all its rows; give its results folder instead")
        _refuse("--column", columns, "a study's columns have their names")
        from jobs.answer import answer_study  # here: a table needs nothing of studies

        return study_report(answer_study(opened(source, storage)))
    _refuse("--storage", storage, "it is for a study file; a table lies where its path says")
    rows = read_table(str(source or table), where, columns)
    return study_report(answer(rows)) if source is not None and _of_a_study(rows) else build_report(rows)


def _of_a_study(rows: ScalingTable) -> bool:
    """Whether a study wrote the table: its runs, families and regions are named."""
    return set(STUDY_COLUMNS) <= set(rows.columns)


def _refuse(option: str, given: object, why: str) -> None:
    if given:
        raise StudyError(f"report: {option} does not go with this source: {why}")
