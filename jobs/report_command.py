"""`scaling report`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.arguments import Column, StorageOption, Where, asked, bad_input_ends, column_map, conditions


@bad_input_ends
def report(
    out: Annotated[str, typer.Option(help="The folder to write.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY|TABLE|RESULTS_FOLDER]", help="Study (YAML), table (CSV, Parquet) or results."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Instead: a table, or a results folder read as one.")] = None,
    storage: StorageOption = None,
    where: Where = None,
    column: Column = None,
) -> None:
    """One page: trends, laws and their status, every figure with its numbers, the configurations."""
    from jobs.report import local_folder, report_of

    made = asked(report_of, source, table, conditions(where), column_map(column), storage)
    page = asked(made.save, local_folder(out))
    print(f"report: {page}")
