"""What `scaling plan` says of a grid's power."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from analysis.fit.words import percent
from analysis.power.power import NOTE, FamilyPower, StudyPower

TITLE = "Power: the chance that this grid finds that error or misalignment falls, and that the law's form is usable"


def print_power(power: StudyPower, console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("region", "family", "assumed", "sd", "falls", "usable"):
        table.add_column(name, justify="left" if name in ("region", "family") else "right", no_wrap=True)
    for row in power.rows:
        table.add_row(row.region, row.family, *_numbers(row))
    console.print(TITLE, highlight=False)
    console.print(table)
    console.print("assumed: change of y over the grid; sd: of a configuration's mean ln y\n" + NOTE, highlight=False)
    for line in _sources(power):
        console.print(line, highlight=False)
    for warning in power.warnings():
        console.print(f"warning: {warning}", highlight=False)


def _numbers(row: FamilyPower) -> list[str]:
    if row.chances is None:
        return ["–"] * 4
    c = row.chances
    return [f"{percent(c.change):+.0f} %", f"{row.sd:.3f}", f"{c.falls:.2f}", f"{c.usable:.2f}"]


def _sources(power: StudyPower) -> list[str]:
    """Where what is assumed comes from, once each."""
    members: dict[str, list[str]] = {}
    for row in power.rows:
        if row.source:
            members.setdefault(row.source, []).append(f"{row.region} {row.family}")
    if len(members) == 1:
        return [f"assumed of all: {source}" for source in members]
    return [f"assumed of {', '.join(named)}: {source}" for source, named in members.items()]
