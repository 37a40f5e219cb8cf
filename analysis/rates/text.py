"""The rates of a study as text."""

from __future__ import annotations

from analysis.rates.report import (
    Exponent,
    Exponents,
    FoundCell,
    GridCell,
    RateReport,
    SearchedCell,
    Sensitivity,
)


def rates_text(report: RateReport) -> str:
    """Searched cells with what mistuning costs, laws, the grid's rates, and what is not to be trusted."""
    n = len(report.searched)
    ranges = {group: f"from {low:g} to {high:g}" for group, (low, high) in report.limits.items()}
    shared = len(set(ranges.values())) == 1
    tried = next(iter(ranges.values())) if shared else ", ".join(f"{said} of {group}" for group, said in ranges.items())
    lines = [
        f"Rates (how: {report.how}): {n} cells searched, lr {tried}; probes "
        f"took {report.share:.2%} of the grid's FLOP (planned: at most {report.planned_share:.2%})",
        "cell: best lr [95 %], validation loss there, what mistuning by a factor of 2 costs of it [95 %]",
    ]
    lines += [
        f"  {cell.group}: {cell.label}: {_found(cell, found)}"
        for cell, found in zip(report.searched, report.found, strict=True)
    ]
    lines += [f"law of {group}: {law.text()}" for group, law in report.laws.items()]
    if report.laws:
        lines += ["trained at [95 % interval of a cell's best lr]:"]
        lines += [f"  {cell.group}: {cell.label}: {_trained(cell)}" for cell in report.grid]
    lines += [f"warning: {cell.label}: {cell.note}" for cell in report.grid if cell.note and not report.laws]
    if report.at_end and report.laws:
        lines.append(f"warning: left out of the law: {', '.join(cell.label for cell, _ in report.at_end)}")
    for one in report.sensitivity:
        lines += _sensitivity(one)
    return "\n".join(lines)


def _sensitivity(found: Sensitivity) -> list[str]:
    """What a factor of 2 costs, and what one rate for all sizes would do."""
    lines = []
    if found.cost is not None:
        lines.append(
            f"{found.group}: mistuning by a factor of 2 costs {100 * found.cost:.1f} % of the validation loss (median "
            f"of {found.n_cells} cells)"
        )
    if found.worst_cost is not None and found.rate is not None:
        lines.append(
            f"{found.group}: at one rate for all, {found.rate:.3g} (the smallest size's), {found.worst} would lose "
            f"most: {100 * found.worst_cost:.1f} % of its loss; what that does to exponents, how: each tells"
        )
    return lines + ([] if found.exponents is None else _exponents(found, found.exponents))


def _exponents(found: Sensitivity, told: Exponents) -> list[str]:
    where = f"{found.group}: exponents of the validation loss over {told.n_cells} cells"
    lost = (
        f"; left out, as their loss at the one rate is not known: {', '.join(told.left_out)}" if told.left_out else ""
    )
    if told.reason:
        return [f"{where}: none ({told.reason}){lost}"]
    lines = [f"{where}, tuned | at one rate for all, {found.rate:.3g} (the smallest size's):"]
    lines += [
        f"  {name}: {told.tuned[name].text()} | {told.one[name].text()}"
        + (f", changed by {told.change[name].text()}, cell by cell" if name in told.change else "")
        for name in told.tuned
        if name in told.one
    ]
    apart = [name for name in told.tuned if name in told.one and not _overlap(told.tuned[name], told.one[name])]
    verdict = (
        f"the intervals of {' and '.join(apart)} do not overlap: the exponents do not survive one rate for all"
        if apart
        else "their intervals overlap: these cells do not show that one rate for all changes the exponents"
    )
    kind = " (averages over the measured range: the form is not known)" if told.averages else ""
    return [*lines, f"  {verdict}{kind}{lost}"]


def _overlap(a: Exponent, b: Exponent) -> bool:
    return a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1]


def _found(cell: SearchedCell, found: FoundCell) -> str:
    ended = [trial.status for trial in cell.trials]
    counts = ", ".join(f"{ended.count(status)} {status}" for status in dict.fromkeys(ended))
    if not found.usable:
        return f"{found.rate:.3g}, at the {found.place} of what was tried; widen the range ({counts})"
    between = "" if found.interval is None else " [{:.3g}, {:.3g}]".format(*found.interval)
    return f"{found.rate:.3g}{between}, {found.loss:.3g}, {cost_text(found)} ({counts})"


def cost_text(found: FoundCell) -> str:
    """'4.1 % [2.0, 6.3]'."""
    if found.cost is None:
        return "cost unknown: no parabola"
    low_high = found.cost_interval
    between = "" if low_high is None else " [{:.1f}, {:.1f}]".format(*(100 * end for end in low_high))
    return f"{100 * found.cost:.1f} %{between}"


def _trained(cell: GridCell) -> str:
    fields = ", ".join(f"{name} {value:g}" for name, value in cell.fields.items())
    between = "" if cell.interval is None else " [{:.3g}, {:.3g}]".format(*cell.interval)
    return f"{fields}{between}" + (f" ({cell.note})" if cell.note else "")
