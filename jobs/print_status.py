"""Where a study stands."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.print_damaged import say_damaged
from jobs.print_left_out import print_left_out
from scaling.ledger import OpenWork, Study
from scaling.probes.study import listed_probes
from scaling.records import RunRecord


def print_status(study: Study, console: Console) -> None:
    """One line a run that is not finished and scored, and the counts."""
    runs, records, work = study.runs, study.records, study.open_work()
    say_damaged(study, console)
    left_out = {run.run_id for run, _ in work.enough.left_out} if work.enough else set()
    states = {run.run_id: "left out" if run.run_id in left_out else _state(run.run_id, records.get(run.run_id), work)
              for run in runs}  # fmt: skip
    table = Table("run", "what", "state", "reason", box=box.SIMPLE_HEAD)
    for run in runs:
        if states[run.run_id] not in ("finished", "left out"):
            record = records.get(run.run_id)
            table.add_row(run.run_id, run.label(), states[run.run_id], (record and record.reason) or "")
    if table.row_count:
        console.print(table)
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    console.print(f"{study.name}: {len(runs)} runs: {summary}; {len(work.score)} checkpoints to score", highlight=False)
    spent = sum(record.flops if record.flops_spent is None else record.flops_spent
                for record in records.values() if record.flops is not None)  # fmt: skip
    if spent:
        console.print(f"spent: {spent:.3g} FLOP", highlight=False)
    if work.enough is not None:
        print_left_out(work.enough, console)
    if study.untuned:
        console.print(_probes_text(study), highlight=False, soft_wrap=True)


def _probes_text(study: Study) -> str:
    """Where the probes of a study that is not tuned yet stand."""
    probes = listed_probes(study)
    if probes is None:
        return f"{study.name} is not tuned yet: `scaling run` starts its probes, and its runs get other ids then"
    ended = sum(record.status != "failed" for record in probes.records.values())
    return (
        f"{study.name} is not tuned yet: {ended} of {len(probes.runs)} probes have ended ({probes.storage.shown}); its "
        "runs get other ids then"
    )


def _state(run_id: str, record: RunRecord | None, work: OpenWork) -> str:
    if record is None:
        return "open"
    if record.status == "out_of_memory":
        return "out of memory" + ("" if run_id in work.out_of_memory else " (to be trained again)")
    if run_id in work.gone:
        return f"to be trained again ({work.gone[run_id]})"
    to_be_scored = record.status == "finished" and any(run_id == other for other, _ in work.score)
    return "finished (to be scored)" if to_be_scored else record.status
