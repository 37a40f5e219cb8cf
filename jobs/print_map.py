"""The grid of a plan as a small map: rows N, columns samples seen D, in each cell C."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from scaling.cluster.plan import RunPlan
from scaling.enough import family_names

MOST_COLUMNS = 8  # a terminal's width; more amounts of data are put together


def print_map(plans: Sequence[RunPlan], console: Console) -> None:
    """A table a family (and objective); nothing where a family has one cell."""
    names = family_names([plan.run for plan in plans])
    for family in dict.fromkeys(names.values()):
        own = [plan for plan in plans if names[plan.run.run_id] == family]
        if len({(plan.n_params, plan.samples_seen) for plan in own}) > 1:
            console.print(_table(family, own))


def _table(family: str, plans: Sequence[RunPlan]) -> Table:
    columns = columns_of([plan.samples_seen for plan in plans])
    cells: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for plan in plans:
        cells[plan.n_params, columns[plan.samples_seen]].append(plan.flops)
    table = Table(
        title=f"{family}: C, FLOP, of N and samples seen D",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("N \\ D", justify="right", no_wrap=True)
    places = sorted(set(columns.values()))
    for place in places:
        held = [samples for samples, column in columns.items() if column == place]
        table.add_column(_span(held), justify="right", no_wrap=True)
    for n_params in sorted({plan.n_params for plan in plans}):
        table.add_row(f"{n_params:.2g}", *(_span(cells.get((n_params, place), [])) for place in places))
    return table


def columns_of(samples: Sequence[int]) -> dict[int, int]:
    """samples seen -> its column: each its own where they are few, else equal steps of the logarithm."""
    distinct = sorted(set(samples))
    if len(distinct) <= MOST_COLUMNS:
        return {value: place for place, value in enumerate(distinct)}
    low, high = math.log(distinct[0]), math.log(distinct[-1])
    return {
        value: min(MOST_COLUMNS - 1, int(MOST_COLUMNS * (math.log(value) - low) / (high - low))) for value in distinct
    }


def _span(values: Sequence[float]) -> str:
    """'3.2e+09', or the least and the largest."""
    ends = dict.fromkeys(f"{value:.2g}" for value in (min(values), max(values))) if values else {"": None}
    return "-".join(ends)
