"""`scaling plan` as a table."""

from __future__ import annotations

from math import isclose

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.print_left_out import print_left_out
from jobs.print_map import print_map
from scaling.cluster.plan import StudyPlan
from scaling.specs.horizon import adaptations

GIB = 2**30


def _at_once(plan: StudyPlan) -> str:
    """'with 2 runs at once'; where runs differ in their resources, how many of each shape alone."""
    if len(plan.shapes) == 1:
        return f"with {plan.shapes[0].slots} runs at once"
    parts = [f"{item.slots} at once of {item.shape.text()} alone" for item in plan.shapes]
    return f"in one queue ({', '.join(parts)})" if parts else "to train"


def _rate(plan: StudyPlan) -> str:
    return f", {plan.images_per_s:,.0f} images/s in all" if plan.images_per_s else ""


def _mark(plan: StudyPlan, run_id: str) -> str:
    left_out = plan.enough is not None and run_id in {run.run_id for run, _ in plan.enough.left_out}
    return "left out" if left_out else "done" if run_id in plan.done else ""


def print_plan(plan: StudyPlan, console: Console) -> None:
    table = Table(
        title=f"{len(plan.runs)} runs, {len(plan.done)} done",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    apart = any(not isclose(item.flops_spent, item.flops) for item in plan.runs)
    spent = ("spent",) if apart else ()
    columns = ("run", "model", "seed", "N", "images", "epochs", "samples", "C, FLOP", *spent, "GiB", "s", "")
    for column in columns:
        table.add_column(column, justify="left" if column in ("run", "model", "") else "right", no_wrap=True)
    for item in plan.runs:
        table.add_row(
            item.run.run_id, item.run.model.label(), str(item.run.seed), f"{item.n_params:,}", f"{item.n_samples:,}",
            f"{item.run.training.epochs:,}", f"{item.samples_seen:,}", f"{item.flops:.3g}",
            *((f"{item.flops_spent:.3g}",) if apart else ()), f"{item.memory_bytes / GIB:.3f}", f"{item.train_s:.1f}",
            _mark(plan, item.run.run_id),
        )  # fmt: skip
    console.print(table)
    print_map(plan.runs, console)
    console.print(
        "samples: samples seen D = images x epochs; "
        f"{'spent: of C what no trunk computes for it; ' if apart else ''}"
        "GiB: memory of one worker's step; s: training time\n"
        f"total: {sum(item.flops_spent for item in plan.runs):.3g} FLOP, "
        f"{sum(item.train_s for item in plan.runs):.0f} s of training ({plan.how_timed}); "
        f"left: about {plan.wall_s:.0f} s {_at_once(plan)}{_rate(plan)}, without start-up and scoring",
        highlight=False,
    )
    if any(item.shape.side_by_side for item in plan.shapes):
        console.print(
            "runs that share a GPU or CPU are timed as if alone, until finished ones tell what they take",
            highlight=False,
        )
    if any(item.run.trunk for item in plan.runs):
        shared = "share trunks" if apart else "share nothing, since every cooldown begins with the first step"
        alone = f"each run alone would cost {sum(item.flops for item in plan.runs):.3g} FLOP"
        console.print(f"horizons {shared}: {alone}", highlight=False)
    for line in dict.fromkeys(fit for item in plan.runs for fit in adaptations(item.run.training, item.n_samples)):
        console.print(f"fitted to the runs' length: {line}", highlight=False)
    if plan.enough is not None:
        print_left_out(plan.enough, console)
    for problem in plan.refused:
        console.print(f"refused: {problem}", highlight=False)
