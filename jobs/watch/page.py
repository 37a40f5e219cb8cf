"""A snapshot as one HTML page, which asks for nothing outside itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from jobs.watch.firming import SHARES
from jobs.watch.grid_map import grid_maps
from jobs.watch.snapshot import Shown, Snapshot
from jobs.watch.terminal import MARKS, cost_text, running_row

WIDTH, HEIGHT = 220.0, 70.0  # of a curve
MOST_CURVES = 60  # of running runs; the rest are counted
MOST_MARKS = 9  # of a cell; more are counted


@dataclass(frozen=True)
class Curve:
    """The loss of a running run by epoch. points: of an SVG polyline; low, high: of the loss."""

    title: str
    facts: tuple[str, ...]
    points: str
    low: float | None
    high: float | None


def watch_page(snapshot: Snapshot, renew_s: int | None = None) -> str:
    """The page; it loads itself again every `renew_s` seconds where that is given."""
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name("page.html.j2").read_text()
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    running = snapshot.running
    planned = snapshot.spending.planned
    return environment.from_string(text).render(
        snapshot=snapshot, renew_s=renew_s, time=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(snapshot.at)),
        cost=cost_text(snapshot), share=min(1.0, snapshot.spending.spent / planned) if planned else 0.0,
        maps=grid_maps(snapshot.runs), curves=[curve(shown, snapshot.at) for shown in running[:MOST_CURVES]],
        more=max(0, len(running) - MOST_CURVES), shares=SHARES, marks={state: MARKS[state][0] for state in MARKS},
        most_marks=MOST_MARKS, width=WIDTH, height=HEIGHT,
    )  # fmt: skip


def curve(shown: Shown, now: float) -> Curve:
    """From epoch 1 to the last of the run at full width, so that the part to come stands empty."""
    assert shown.live is not None
    told = [(epoch.epoch, epoch.loss) for epoch in shown.live.history if epoch.loss is not None]
    losses = [loss for _, loss in told]
    low, high = (min(losses), max(losses)) if losses else (None, None)
    points = " ".join(f"{_x(epoch, shown):.1f},{_y(loss, losses):.1f}" for epoch, loss in told)
    title, _, loss_now, epoch_text, images, share, age = running_row(shown, now)
    facts = (f"loss {loss_now or 'not told yet'}", f"epoch {epoch_text}", *([f"{images} images/s"] if images else []),
             *([f"{share} of the time in steps"] if share else []), f"file {age}")  # fmt: skip
    return Curve(title, facts, points, low, high)


def _x(epoch: int, shown: Shown) -> float:
    return WIDTH * (epoch - 1) / max(1, shown.run.training.epochs - 1)


def _y(loss: float, losses: list[float]) -> float:
    low, high = min(losses), max(losses)
    return HEIGHT / 2 if high == low else HEIGHT * (high - loss) / (high - low)
