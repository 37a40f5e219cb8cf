"""The answer of a study as text: its laws, its twins, and what was left out of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from analysis.answers.laws import Fitted, StudyLaws
from analysis.fit.estimate import Estimate
from analysis.fit.law import FittedLaw
from analysis.tradeoff.twins import TwinDifference

WIDTH = 400  # no table is that wide: its cells are whole
LEGEND = (
    "L = E + A·C^-alpha a family; L = E + A·N^-alpha + B·D^-beta with exponents shared by the families;\n"
    "[95 % bootstrap interval]; ~ weakly identified"
)
TWINS_LEGEND = "treated - baseline, mean of paired differences over seeds; [95 % t-interval]"


def laws_text(laws: StudyLaws, simulated: bool) -> str:
    """The table of laws, and why some have no numbers."""
    title = f"Laws of error and misalignment, L = 1 - score{' (simulated recordings)' if simulated else ''}"
    rows, shown = [], set()
    for (region, family), law in laws.compute.items():
        size, first = laws.size[region], region not in shown
        joint = [exponent(size, name) for name in ("alpha", "beta")] if first else ["", ""]
        runs = str(law.n_configurations) if isinstance(law, FittedLaw) else ""
        rows.append([region if first else "", family, runs, exponent(law, "alpha"), *joint])
        shown.add(region)
    reasons = dict.fromkeys(law for law in (*laws.compute.values(), *laws.size.values()) if isinstance(law, str))
    grid = _grid(title, ("region", "family", "runs", "alpha of C", "alpha of N", "beta of D"), rows)
    return "\n".join([grid + LEGEND, *(f"no law: {reason}" for reason in reasons)]) + "\n"


def exponent(law: Fitted, name: str) -> str:
    """An exponent and its interval, '~' where it is weakly identified; the law's status where it is not identified."""
    if isinstance(law, str):
        return "no law"
    if not law.usable:
        return law.status
    interval = " [{:.2g}, {:.2g}]".format(*law.interval(name)) if len(law.draws) else ""
    return f"{'~ ' if name in law.verdict.weak else ''}{law.params[name]:.2g}{interval}"


def twins_text(twins: Sequence[TwinDifference]) -> str:
    """The table of twins: what a treatment changes in score and accuracy, region by region; empty without twins."""
    if not twins:
        return ""
    rows = [
        [twin.region, twin.treated, twin.name, _pairs(twin), _change(twin.score), _change(twin.accuracy)]
        for twin in twins
    ]
    baseline = ", ".join(dict.fromkeys(twin.baseline for twin in twins))
    columns = ("region", "treated", "twins", "pairs", "score", "accuracy")
    return _grid(f"Twins: what the objective changes beside {baseline}", columns, rows) + TWINS_LEGEND + "\n"


def _pairs(twin: TwinDifference) -> str:
    return f"{twin.n}, {twin.n_unpaired} runs without twin" if twin.n_unpaired else str(twin.n)


def _change(value: Estimate | None) -> str:
    return "no pair" if value is None else value.text("+.3f")


def left_out_text(table: Mapping[str, int], regions: Mapping[str, Mapping[str, int]]) -> str:
    """What the table left out, then what each region's mean and laws did; empty where it is nothing."""
    lines = [f"left out: {count} x {reason}" for reason, count in table.items()]
    lines += [
        f"left out of {region}: {n} x {reason}" for region, reasons in regions.items() for reason, n in reasons.items()
    ]
    return "".join(f"{line}\n" for line in lines)


def _grid(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal, under its title."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        grid.add_column(column, no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    file = io.StringIO()
    Console(file=file, width=WIDTH).print(grid)
    return file.getvalue()
