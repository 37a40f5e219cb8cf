"""`scaling report`: the page of a study, of a results folder or of a table, told apart by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis import ScalingTable, answer, build_report, study_report
from analysis.figures.page import Report
from analysis.parts import check_parts
from analysis.verify.verification import read_verifications
from jobs.arguments import opened, opened_zoo
from jobs.tables import is_table, read_table
from scaling.errors import StudyError
from scaling.place import is_uri, shown
from scaling.verify.study import read_beside

STUDY_COLUMNS = ("study", "run_id", "family", "region", "accuracy")


def report_of(
    source: str | None, table: str | None, where: Mapping[str, Any], columns: Mapping[str, str], storage: str | None
) -> Report:
    """The report of the one of source and table that is given.

    A study file: its answer, as saved. A results folder, or a table that a study wrote: an answer made of it. Another
    table, or whatever `table` names: every law of its rows.

    Raises:
        StudyError: none or both of them; rows chosen or columns named of a study file; a storage of anything else.
    """
    if (source is None) == (table is None):
        raise StudyError("report: give one STUDY, TABLE or RESULTS_FOLDER, or a table as --table PATH")
    if source is not None and Path(source).suffix in {".yaml", ".yml"}:
        _refuse("--where", where, "a study's report is of all its rows; give its results folder instead")
        _refuse("--column", columns, "a study's columns have their names")
        if (zoo := opened_zoo(Path(source), storage)) is not None:
            from jobs.zoo_run import zoo_report

            return zoo_report(zoo)
        from jobs.answer import answer_study  # here: a table needs nothing of studies

        return study_report(answer_study(opened(Path(source), storage)))
    _refuse("--storage", storage, "it is for a study file; a table lies where its path says")
    path = str(source or table)
    rows = read_table(path, where, columns)
    if source is not None and _of_a_study(rows):
        beside = () if is_table(path) else read_verifications(read_beside(path))
        return study_report(answer(rows, verifications=beside))
    check_parts(rows, mean="region" in rows.columns)
    return build_report(rows)


def local_folder(out: str) -> Path:
    """The folder of a page.

    Raises:
        StudyError: it is a URI.
    """
    if is_uri(out):
        raise StudyError(f"--out '{shown(out)}' is a URI; give a local folder, and copy it there")
    return Path(out)


def _of_a_study(rows: ScalingTable) -> bool:
    """Whether a study wrote the table: its runs, families and regions are named."""
    return set(STUDY_COLUMNS) <= set(rows.columns)


def _refuse(option: str, given: object, why: str) -> None:
    if given:
        raise StudyError(f"report: {option} does not go with this source: {why}")
