"""What a study's `stop` leaves out, with its cost."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from scaling.open_work import Enough


def print_left_out(enough: Enough, console: Console) -> None:
    """Why the study ends early, and one line a run that it leaves out, cheapest first."""
    console.print(f"\nstop: {enough.text}", highlight=False, soft_wrap=True)
    if not enough.left_out:
        console.print("nothing is left out", highlight=False)
        return
    table = Table("left out", "what", box=box.SIMPLE_HEAD)
    table.add_column("C, FLOP", justify="right")
    for run, flops in enough.left_out:
        table.add_row(run.run_id, run.label(), f"{flops:.3g}")
    console.print(table)
    console.print(
        f"left out: {len(enough.left_out)} runs, {enough.flops:.3g} FLOP ({enough.share:.1%} of the grid's); "
        "to train them, remove `stop` from the study file and run again",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
