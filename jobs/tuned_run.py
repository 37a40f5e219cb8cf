"""`scaling run` of a study with a `tune`: its probes first, then its rates, then its grid at these rates."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console

from analysis.rates.report import RateReport
from analysis.rates.text import rates_text
from jobs.print_rates import print_probes
from jobs.study_run import Outcome, run_study
from scaling.cluster.counts import image_counts
from scaling.cluster.driver import RunOptions, check_before
from scaling.cluster.placement import check_capacity, needs_gpu
from scaling.cluster.session import local_nodes, wanted_address
from scaling.ledger import Study, open_study
from scaling.probes.plan import ProbePlan, plan_probes
from scaling.probes.rating import find_rates
from scaling.probes.study import probing_study, write_probes
from scaling.rates import write_rates
from scaling.study_log import RunNote
from scaling.tracking import Tracker


def run_tuned(study: Study, options: RunOptions, console: Console, use_mlflow: bool = True) -> Outcome:
    """Probe what is not rated yet, then train and score the grid. A study that is rated, or not tuned, goes on at once.

    Raises:
        StudyError: as `plan_probes`, `find_rates` and `run_study`.
    """
    if study.untuned:
        outcome = _probe(study, options, console, use_mlflow)
        if outcome.status:
            return outcome
        study = open_study(study.spec)
    return run_study(study, options, console, use_mlflow)


def _probe(study: Study, options: RunOptions, console: Console, use_mlflow: bool) -> Outcome:
    """Train the probes that are open, and write the study's rates once all have ended."""
    study.storage.check_writable()
    check_before(study, options)
    say = partial(console.print, highlight=False, soft_wrap=True)
    if wanted_address(options.address) is None:
        nodes = local_nodes(needs_gpu(study.spec, study.runs))
        check_capacity(study.spec, study.runs, nodes, "this machine")
    check = partial(plan_probes, study.spec, study.runs)  # first: what is refused leaves nothing behind
    counts = image_counts(study, options.data_dir, options.address, options.cache_dir, say, check)
    plan = plan_probes(study.spec, study.runs, counts)
    print_probes(plan, console, study.spec.stop)
    write_probes(study, plan.all_runs)
    derived = probing_study(study, plan.all_runs, use_mlflow)
    return run_study(derived, options, console, use_mlflow, answer=partial(_conclude, study, plan))


def _conclude(study: Study, plan: ProbePlan, derived: Study, console: Console, tracker: Tracker) -> bool:
    """Find, keep and print the rates; whether all probes have ended, so that there are any."""
    for run in derived.runs:
        tracker.note(run.run_id, RunNote({}, {"scaling.probes": study.name}))
    left = derived.open_work()
    if not left.is_empty:
        return False
    assert study.spec.tune is not None
    rates = find_rates(plan, study.spec.tune, derived.records)
    write_rates(study.storage, rates)
    text = rates_text(RateReport.model_validate(rates.report))
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "rates.txt").write_text(f"{text}\n", encoding="utf-8")
        derived.save_answer(Path(scratch))
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    return True
