"""`scaling benchmarks`: every suite with what it is of, where its files come from, and whether they are there."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from scaling.alignment.suites.registry import BENCHMARKS
from scaling.alignment.suites.suite import Suite

COLUMNS = ("suite", "benchmarks", "region", "subjects", "stimuli", "licence", "files", "there")


def benchmark_rows(data_dir: Path) -> list[dict[str, str]]:
    """One row a suite, under COLUMNS; `there` is yes, no, or - where no files are needed."""
    return [_row(name, suite, data_dir) for name, suite in BENCHMARKS.items()]


def _row(name: str, suite: Suite, data_dir: Path) -> dict[str, str]:
    about = suite.about
    assert about is not None  # of every published suite
    there = "-" if not about.folder else "yes" if (data_dir / about.folder).is_dir() else "no"
    further = f"; by name: {', '.join(suite.further)}" if suite.further else ""
    regions = ", ".join(dict.fromkeys(suite.regions.values()))
    values = (name, ", ".join(suite.regions) + further, regions, *about[:4], there)
    return dict(zip(COLUMNS, values, strict=True))


def print_benchmarks(data_dir: Path, console: Console) -> None:
    """A block a suite: as a table, the columns would be too narrow for any terminal."""
    for row in benchmark_rows(data_dir):
        grid = Table.grid(padding=(0, 2))
        for name in COLUMNS[1:]:
            grid.add_row(f"  {name}", row[name])
        console.print(row["suite"], grid, sep="\n", highlight=False)
    console.print(f"files are looked for below {data_dir}", highlight=False, soft_wrap=True)
