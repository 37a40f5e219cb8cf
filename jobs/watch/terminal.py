"""A snapshot in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.watch.firming import SHARES
from jobs.watch.grid_map import GridMap, grid_maps
from jobs.watch.snapshot import Shown, Snapshot

MARKS = {
    "finished": ("●", "green"), "to be scored": ("◐", "green"), "running": ("▶", "cyan"),
    "interrupted": ("‖", "yellow"), "waiting": ("·", "bright_black"), "failed": ("✗", "red"),
    "out of memory": ("M", "red"), "diverged": ("∞", "magenta"), "cut": ("c", "bright_black"),
    "left out": ("–", "bright_black"),
}  # fmt: skip
MOST_MARKS = 5  # of a cell; more are counted
MOST_ROWS = 12  # of running and of failed runs
BARS = "▁▂▃▄▅▆▇█"
SPARK = 24  # characters of a curve


def terminal_view(snapshot: Snapshot) -> RenderableType:
    """All of it, from the top: counts and cost, maps, running runs, throughput, laws, faults."""
    return Group(*_parts(snapshot))


def _parts(snapshot: Snapshot) -> Iterator[RenderableType]:
    yield Text(f"{snapshot.name} at {time.strftime('%H:%M:%S', time.localtime(snapshot.at))}  ", style="bold")
    yield _counts(snapshot)
    yield Text(cost_text(snapshot))
    for note in snapshot.notes:
        yield Text(note, style="yellow")
    for grid in grid_maps(snapshot.runs):
        yield _map(grid)
    if snapshot.running:
        yield _running(snapshot)
    if snapshot.throughput:
        yield _throughput(snapshot)
    if snapshot.nodes:
        yield _nodes(snapshot)
    yield _laws(snapshot) if snapshot.laws else Text(f"no laws yet: {snapshot.no_laws}")
    if snapshot.faults:
        yield _faults(snapshot)


def _counts(snapshot: Snapshot) -> Text:
    """'● 12 finished  ▶ 3 running', the map's legend too."""
    text = Text()
    for state, n in snapshot.counts.items():
        mark, style = MARKS[state]
        text.append(f"{mark} {n} {state}  ", style=style)
    return text.append(f"of {len(snapshot.runs)} runs; {snapshot.to_score} checkpoints to score")


def cost_text(snapshot: Snapshot) -> str:
    """What was spent, of what is planned as far as it is known."""
    cost = snapshot.spending
    share = f" ({cost.spent / cost.planned:.0%})" if cost.planned else ""
    unknown = f", and of {cost.n_unknown} runs whose C no run has told yet" if cost.n_unknown else ""
    return f"spent {cost.spent:.3g} of {cost.planned:.3g} FLOP planned{share}{unknown}"


def _map(grid: GridMap) -> Table:
    table = Table(title=grid.family, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("N \\ D", no_wrap=True)
    for column in grid.columns:
        table.add_column(column)
    for row in grid.rows:
        table.add_row(row.label, *map(_cell, row.cells))
    return table


def _cell(cell: Mapping[str, int]) -> Text:
    text = Text()
    for state, n in cell.items():
        mark, style = MARKS[state]
        text.append(mark * n if sum(cell.values()) <= MOST_MARKS else f"{mark}{n} ", style=style)
    return text


def _running(snapshot: Snapshot) -> Table:
    table = Table(title="running", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("run", "loss", "now", "epoch", "images/s", "in steps", "last file"):
        table.add_column(name)
    for shown in snapshot.running[:MOST_ROWS]:
        table.add_row(*running_row(shown, snapshot.at))
    if len(snapshot.running) > MOST_ROWS:
        table.add_row(f"… and {len(snapshot.running) - MOST_ROWS} more")
    return table


def running_row(shown: Shown, now: float) -> list[str]:
    live = shown.live
    assert live is not None
    losses = [epoch.loss for epoch in live.history if epoch.loss is not None]
    last = live.history[-1] if live.history else None
    step = f" + {live.step} steps" if live.step else ""
    return [
        shown.run.label(), sparkline(losses), f"{losses[-1]:.3g}" if losses else "",
        f"{live.epoch}/{shown.run.training.epochs}{step}",
        f"{last.images_per_s:,.0f}" if last and last.images_per_s else "",
        f"{last.compute_share:.0%}" if last and last.compute_share else "", f"{now - live.changed_at:.0f} s ago",
    ]  # fmt: skip


def sparkline(values: Sequence[float]) -> str:
    """The last of them as bars, the lowest and the highest of what is shown at the ends of the scale."""
    shown = values[-SPARK:]
    low, high = (min(shown), max(shown)) if shown else (0.0, 0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in shown)


def _throughput(snapshot: Snapshot) -> Table:
    table = Table(title="throughput, medians of a run", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("runs", "running", "images/s", "FLOP/s", "time in steps"):
        table.add_column(name, justify="left" if name == "runs" else "right")
    for one in snapshot.throughput:
        values = f"{one.images_per_s:,.0f}", f"{one.flops_per_s:.3g}", f"{one.compute_share:.0%}"
        table.add_row(f"{one.n_runs} of {one.what}", str(one.n_running), *values)
    return table


def _nodes(snapshot: Snapshot) -> Table:
    title = "nodes, sums over their running runs"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    uses = sorted({name for one in snapshot.nodes for name in one.use})
    words = [name.replace("gpu", "GPU").replace("cpu", "CPU").replace("_", " ") for name in uses]
    for name in ("node", "running", "images/s", "FLOP/s", "time in steps", *words):
        table.add_column(name, justify="left" if name == "node" else "right")
    for one in snapshot.nodes:
        values = f"{one.images_per_s:,.0f}", f"{one.flops_per_s:.3g}", f"{one.compute_share:.0%}"
        shares = (f"{one.use[name]:.0%}" if name in one.use else "" for name in uses)
        table.add_row(one.host, str(one.n_running), *values, *shares)
    return table


def _laws(snapshot: Snapshot) -> Table:
    title = "change of L over the measured C, 95 % interval, as runs have ended"
    table = Table("region", "family", *(f"{share:.0%}" for share in SHARES), title=title, title_justify="left",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for (region, family), looks in snapshot.laws.items():
        table.add_row(region, family, *("" if look is None else look.text() for look in looks))
    return table


def _faults(snapshot: Snapshot) -> Table:
    table = Table("run", "what", "state", "reason", title="faults", title_justify="left", box=box.SIMPLE_HEAD)
    for shown in snapshot.faults[:MOST_ROWS]:
        table.add_row(shown.run.run_id, shown.run.label(), shown.state, shown.reason)
    if len(snapshot.faults) > MOST_ROWS:
        table.add_row(f"… and {len(snapshot.faults) - MOST_ROWS} more: scaling status STUDY")
    return table
