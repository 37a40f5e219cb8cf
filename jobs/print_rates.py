"""What is to be probed, and what the probes of a study found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from analysis.rates.report import RateReport
from analysis.rates.text import rates_text
from scaling.cluster.plan import StudyPlan
from scaling.ledger import Study
from scaling.probes.cells import grid_flops
from scaling.probes.plan import ProbePlan, plan_probes
from scaling.specs.run import RunSpec
from scaling.specs.stop import StopSpec
from scaling.specs.tune import LR


def print_tuning(study: Study, plan: StudyPlan, console: Console) -> None:
    """Of a study with a `tune`: its probes before they ran, the rates of its cells after.

    Raises:
        StudyError: the probes exceed their share.
    """
    if study.rates is not None:
        text = rates_text(RateReport.model_validate(study.rates.report))
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    elif study.untuned:
        console.print(
            "not tuned yet: the runs above have the middle of each range, and get other ids with their rates",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        print_probes(plan_probes(study.spec, study.runs, plan.images), console, study.spec.stop)


def print_probes(plan: ProbePlan, console: Console, stop: StopSpec | None = None) -> None:
    """Cells, trials, cost and its share; the runs that a `stop` will leave out are not known before it is reached."""
    runs = plan.all_runs
    lines = [
        f"probes: {len(plan.searched)} of {len(plan.grid)} cells x {len(runs) // len(plan.searched)} trials, seed "
        f"{plan.seed} (which the grid has not)",
        *(
            f"  {cell.group}: {cell.label()}, {LR} {_span(plan.runs[cell.key])}, {cell.flops:.3g} FLOP a trial"
            for cell in plan.searched
        ),
        f"  at most {plan.flops:.3g} FLOP, {plan.share:.2%} of the grid's {grid_flops(plan.grid):.3g}",
    ]
    if stop is not None:
        lines.append("  the share is of the whole grid: `stop` may leave out a part of it, and of the rest it is more")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _span(trials: Sequence[RunSpec]) -> str:
    rates = [run.training.lr for run in trials]
    return f"{min(rates):g} to {max(rates):g}"
