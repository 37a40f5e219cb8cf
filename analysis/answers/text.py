"""The answer of a study as text: its laws, its twins, and what was left out of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from analysis.answers.laws import Fitted, StudyLaws, trend_law
from analysis.fit.estimate import Estimate
from analysis.fit.forms import find_form
from analysis.fit.status import DIRECTIONS, USABLE, no_numbers
from analysis.fit.words import change_cell
from analysis.tradeoff.twins import TwinDifference

WIDTH = 400  # no table is that wide: its cells are whole
LEGEND = (
    "change: of L over the measured range, [95 % t interval]; form: is L = E + A·N^-alpha + B·D^-beta known\n"
    "(exponents shared by the families that fall); alpha of C: L = E + A·C^-alpha, a family alone;\n"
    "[95 % bootstrap interval]; ~ weakly identified"
)
TWINS_LEGEND = "treated - baseline, mean of paired differences over seeds; [95 % t-interval]"


def laws_text(laws: StudyLaws, simulated: bool) -> str:
    """The table of laws, then what was found in sentences: trends first, then why some have no form."""
    title = f"Laws of error and misalignment, L = 1 - score{' (simulated recordings)' if simulated else ''}"
    rows, sentences, shown = [], [], set()
    for region, family in laws.compute:
        rows.append([region if region not in shown else "", *_row(laws, region, family)])
        sentences += _sentences(laws, region, family)
        shown.add(region)
    columns = ("region", "family", "configurations", "change", "form", "alpha of N", "beta of D", "alpha of C")
    return "\n".join([grid(title, columns, rows) + LEGEND, *dict.fromkeys(sentences)]) + "\n"


def _row(laws: StudyLaws, region: str, family: str) -> list[str]:
    """family, configurations, change, form, exponents."""
    told, compute = trend_law(laws, region, family), laws.compute[region, family]
    if told is None:
        return [family, "", "no law", "no law", "", "", exponent(compute, "alpha")]
    law, group = told
    status = law.verdict_of(group).status
    form = "" if status in DIRECTIONS else status
    joint = [exponent(law, name) if status in USABLE and name in law.names else "" for name in ("alpha", "beta")]
    joint = joint if law.spec.form != "power_law" else ["", ""]
    return [family, str(law.trends[group].n), change_cell(law.trends[group]), form, *joint, exponent(compute, "alpha")]


def _sentences(laws: StudyLaws, region: str, family: str) -> list[str]:
    """The trend of a family in a region, and why its form is not known, or no law can be asked for."""
    told = trend_law(laws, region, family)
    refused = [law for law in (laws.size[region], laws.compute[region, family]) if isinstance(law, str)]
    lines = [f"no law: {reason}" for reason in refused]
    if told is None:
        return lines
    law, group = told
    verdict = law.verdict_of(group)
    status, reason = verdict.status, verdict.reason
    where = f"{region}, {family}: "
    form = "" if status in (*DIRECTIONS, "ok") else f"; {no_numbers(status, reason)}"
    return [where + law.trend_text(group) + form, *lines]


def repeated_text(laws: StudyLaws) -> str:
    """How fast repeated images lose worth, region by region; empty where a study does not vary it."""
    if not laws.repeated:
        return ""
    lines = [f"{region}: {_repeats(laws, region)}" for region in laws.repeated]
    return "\n".join(["Repeated images, L = " + find_form("data_constrained").formula, *lines]) + "\n"


def _repeats(laws: StudyLaws, region: str) -> str:
    """R* with its interval and status, and which law is used."""
    law, size = laws.repeated[region], laws.size[region]
    if isinstance(law, str):
        return f"no law: {law}"
    if not law.usable:
        return no_numbers(law.status, law.reason)
    said = f"R* = {exponent(law, 'R_star')} ({law.status})"
    if isinstance(size, str) or not size.usable:
        return f"{said}; recipes use it, as no law of N and D is usable"
    gap = law.diagnostics.aicc - size.diagnostics.aicc
    used = "recipes use it" if laws.best(region) is law else "recipes use the law of N and D"
    return f"{said}; AICc {abs(gap):.3g} {'below' if gap < 0 else 'above'} that of N and D: {used}"


def exponent(law: Fitted, name: str) -> str:
    """An exponent and its interval, '~' where it is weakly identified; '-' where the law gives no number."""
    if isinstance(law, str) or not law.usable:
        return "-"
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
    return grid(f"Twins: what the objective changes beside {baseline}", columns, rows) + TWINS_LEGEND + "\n"


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


def grid(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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
