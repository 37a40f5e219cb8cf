"""`scaling run`: what is missing is trained and scored, tracked, and answered by the analysis."""

from __future__ import annotations

from functools import partial

from rich.console import Console

from jobs.print_damaged import say_damaged
from jobs.progress import StudyProgress
from scaling.checks import check_study
from scaling.cluster.driver import RunOptions, do_work
from scaling.errors import StudyError
from scaling.ledger import OpenWork, Study
from scaling.tracking import Tracker, connect


def run_study(
    study: Study, options: RunOptions, console: Console, use_mlflow: bool = True, train: bool = True
) -> OpenWork:
    """Train and score what is missing; returns what is still open afterwards (nothing, if all went well).

    Raises:
        StudyError: anything that makes the study impossible, before the first run starts; runs that are missing
            where none are to be trained.
    """
    study.storage.check_writable()
    with study.locked():
        check_study(study.spec, options.data_dir)
        work = study.open_work()
        say_damaged(study, console)
        if work.train and not train:
            raise StudyError(
                f"{len(work.train)} of {len(study.runs)} runs of study '{study.name}' are not trained "
                f"({study.storage.shown}); `scaling run` trains them"
            )
        client = connect(study.tracking_uri) if use_mlflow else None
        tracker = Tracker(client, study.spec, study.storage)
        for run in study.runs:
            tracker.run_changed(run.run_id)
        study.prune_scored(work)
        if work.train or work.score:
            do_work(study, work, options, tracker, partial(StudyProgress, console))
        left = study.open_work()
        answered = _answer(study, console)
        with study.answer_files() as folder:
            files = sorted(folder.iterdir()) if answered else []
            problem = tracker.close("FINISHED" if left.is_empty else "FAILED", files)
        _say_where(study, left, problem, console)
        return left


def _answer(study: Study, console: Console) -> bool:
    """Fit, save and print the laws and recipes, if anything is scored."""
    from jobs.answer import answer_study
    from jobs.print_answer import print_answer

    try:
        answer = answer_study(study)
    except StudyError as error:
        console.print(f"no laws: {error}", highlight=False)
        return False
    print_answer(answer, console)
    return True


def _say_where(study: Study, left: OpenWork, problem: str | None, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    storage = study.storage
    say(f"\nresults, recipes and figures: {storage.path() if storage.is_local else storage.shown}")
    say(f"MLflow: {study.tracking_uri} (open it with `scaling ui`)")
    if problem:
        say(f"{problem}; the next `scaling run` logs what is missing")
    if left.out_of_memory:
        say(
            f"out of memory: {len(left.out_of_memory)} runs, named by `scaling status`; they are trained again with "
            "other resources (a smaller resources.micro_batch, more workers)"
        )
    if left.train or left.score:
        say(f"unfinished: {len(left.train)} runs, {len(left.score)} checkpoints to score; run again to go on")
