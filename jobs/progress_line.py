"""What a person sees while a study runs: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from scaling.cluster.gpu_use import power_share
from scaling.cluster.measured import MeasuredCost
from scaling.records import EpochRecord
from scaling.specs.run import RunSpec

PLAIN_INTERVAL_S = 10.0


class _Line:
    """Shows `line()`: live on a terminal, elsewhere every PLAIN_INTERVAL_S, and once at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._printed = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        self._console.print(self.line(), highlight=False)

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        if self._live:
            self._live.update(Text(self.line()))
        elif time.monotonic() - self._printed > PLAIN_INTERVAL_S:
            self._printed = time.monotonic()
            self._console.print(self.line(), highlight=False)

    def line(self) -> str:
        raise NotImplementedError


class ZooProgress(_Line):
    """Counts models; the time left is that of as many models as are left."""

    def __init__(self, console: Console, n_done: int, n_models: int) -> None:
        super().__init__(console)
        self._before, self._n_models = n_done, n_models
        self._scored = self._failed = 0

    def ended(self, failed: bool) -> None:
        """A model was scored, or cannot be."""
        self._failed += failed
        self._scored += not failed

    def line(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        done, elapsed = self._scored + self._failed, time.monotonic() - self._began
        left = (self._n_models - self._before - done) * elapsed / done if done else 0.0
        ahead = f", about {left:.0f} s left" if left else ""
        return f"models scored: {self._before + self._scored}/{self._n_models}{failed} · {elapsed:.0f} s{ahead}"


class StudyProgress(_Line):
    """Counts runs and scores; images a second of all runs; the time left, by what runs were measured to take.

    Time left: max(sum_r s_r / n, max_r s_r), s_r the seconds left of run r, n the most runs that went on at once.
    """

    def __init__(self, console: Console, cost: MeasuredCost, n_done: int, to_score: int) -> None:
        super().__init__(console)
        self._cost = cost
        self._done_share = dict.fromkeys(self._cost, 0.0)
        self._n_total, self._n_done = len(cost) + n_done, n_done
        self._running: dict[str, float] = {}  # images a second, of their last epochs
        self._at_once = 1
        self._failed = 0
        self._scored, self._to_score = 0, to_score

    def started(self, run: RunSpec) -> None:
        self._running[run.run_id] = 0.0
        self._at_once = max(self._at_once, len(self._running))

    def advanced(self, run: RunSpec, epoch: EpochRecord) -> None:
        self._done_share[run.run_id] = epoch.epoch / run.training.epochs
        self._running[run.run_id] = epoch.images_per_s or 0.0

    def ended(self, run: RunSpec, failed: bool) -> None:
        self._running.pop(run.run_id, None)
        self._done_share[run.run_id] = 1.0
        self._failed += failed
        self._n_done += not failed

    def scored(self) -> None:
        self._scored += 1

    def line(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        rate = sum(self._running.values())
        images = f" · {rate:,.0f} images/s{self._in_use()}" if rate else ""
        return (
            f"runs: {self._n_done}/{self._n_total} done, {len(self._running)} running{failed}{images} · "
            f"checkpoints scored: {self._scored}/{self._to_score} · {self._time_left()}"
        )

    def _in_use(self) -> str:
        """Of this machine's GPUs, where runs ask for some and somebody tells."""
        share = power_share() if self._cost.on_gpus else None
        return "" if share is None else f", {share:.0%} of the GPUs' power"

    def _time_left(self) -> str:
        elapsed = time.monotonic() - self._began
        left = [self._cost[run_id] * (1 - share) for run_id, share in self._done_share.items()]
        if sum(left) <= 0:
            return f"{elapsed:.0f} s"
        if not self._cost.in_seconds:
            return f"{elapsed:.0f} s, time left unknown yet"
        return f"{elapsed:.0f} s, about {max(sum(left) / self._at_once, *left):.0f} s left"


@contextmanager
def pass_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each pass over images: what hears of (what, done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance
