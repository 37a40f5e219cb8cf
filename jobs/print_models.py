"""`scaling models`: every family's ladder of sizes with its parameters and FLOPs."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from scaling.errors import StudyError, known_names
from scaling.models.ladder import LADDERS, LadderRow, ladder_table

COLUMNS = ("family", "size", "N, 224 px", "GFLOP", "N, 32 px", "GFLOP")
NOTE = "GFLOP: one image forward, 2 x MACs; 1,000 classes at 224 px, 10 at 32 px"


def ladder_rows(families: Sequence[str]) -> list[LadderRow]:
    """The ladders of some families, or of all.

    Raises:
        StudyError: a family without a ladder; lists the known.
    """
    for family in families:
        if family not in LADDERS:
            raise StudyError(f"family '{family}' has no ladder; {known_names(family, LADDERS)}")
    return ladder_table(families or tuple(LADDERS))


def print_ladders(rows: Sequence[LadderRow], console: Console) -> None:
    table = Table(title="sizes as a study file writes them", title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=True)
    for cells in table_cells(rows):
        table.add_row(*cells)
    console.print(table)
    console.print(NOTE, highlight=False)


def table_cells(rows: Sequence[LadderRow]) -> list[tuple[str, ...]]:
    """A row's texts under COLUMNS; a family is named at its first size."""
    cells: list[tuple[str, ...]] = []
    shown: set[str] = set()
    for row in rows:
        counts = (f"{row.n_params_224:,}", f"{row.gflops_224:.3g}", f"{row.n_params_32:,}", f"{row.gflops_32:.3g}")
        cells.append(("" if row.family in shown else row.family, row.size, *counts))
        shown.add(row.family)
    return cells
