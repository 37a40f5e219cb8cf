"""`scaling run`: what is missing is trained and scored, tracked, and answered by the analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from jobs.print_damaged import say_damaged
from jobs.print_left_out import print_left_out
from jobs.progress_line import StudyProgress
from scaling.cluster.driver import Hearers, RunOptions, check_before, do_work
from scaling.cluster.stopping import INCOMPLETE, Stopped, StopSwitch, files_refused, stop_switch
from scaling.errors import StorageError, StudyError
from scaling.ledger import OpenWork, Study
from scaling.mlflow_store import connect
from scaling.open_work import prune_branches
from scaling.place import shown
from scaling.tracking import Tracker

STOP_WAIT_S = 3.0  # for MLflow, where a study is stopped: what it lacks is logged by the next


Answering = Callable[[Study, Console, Tracker], bool]  # saves and prints what a study's scores say; whether they do


@dataclass(frozen=True)
class Outcome:
    """How a study's run ended. left: still open; answered: it has laws and recipe; stopped: from outside, or None."""

    left: OpenWork
    answered: bool
    stopped: Stopped | None = None

    @property
    def status(self) -> int:
        """Of the process: 0 where everything is there, 128 + the signal that stopped it, else 1."""
        if self.stopped is not None:
            return self.stopped.status
        return 0 if self.left.is_empty and self.answered else INCOMPLETE


def run_study(
    study: Study, options: RunOptions, console: Console, use_mlflow: bool = True, train: bool = True,
    answer: Answering | None = None,
) -> Outcome:  # fmt: skip
    """Train and score what is missing, then answer. One interrupt, or a cluster that is lost, ends it with one line.

    Args:
        answer: in place of the laws and recipes.

    Raises:
        StudyError: anything that makes the study impossible, before the first run starts; runs that are missing
            where none are to be trained.
    """
    study.storage.check_writable()
    say = partial(console.print, highlight=False, soft_wrap=True)
    with stop_switch() as switch:
        try:
            with study.locked(say, lambda why: switch.stop(Stopped(f"{why}: nothing goes on here"))):
                check_before(study, options)
                work = _open_work(study, train)
                say_damaged(study, console)
                client = connect(study.tracking_uri) if use_mlflow else None
                tracker = Tracker(client, study.spec, study.storage, study.results, study.is_own)
                return _tracked(study, work, options, console, tracker, switch, answer)
        except Stopped as stopped:
            say(stopped.line)
            return Outcome(OpenWork(train=study.runs), False, stopped)


def _tracked(
    study: Study, work: OpenWork, options: RunOptions, console: Console, tracker: Tracker, switch: StopSwitch,
    answer: Answering | None,
) -> Outcome:  # fmt: skip
    """`_run`, or how it was stopped, which MLflow hears too."""
    try:
        with switch.instead():
            return _run(study, work, options, console, tracker, switch, answer)
    except (Stopped, StorageError, OSError) as error:
        end = error if isinstance(error, Stopped) else files_refused(error)
        tracker.close("KILLED", (), STOP_WAIT_S)
        console.print(end.line, highlight=False, soft_wrap=True)
        return Outcome(work, False, end)


def _run(
    study: Study, work: OpenWork, options: RunOptions, console: Console, tracker: Tracker, switch: StopSwitch,
    answer: Answering | None,
) -> Outcome:  # fmt: skip
    for run in study.runs:
        tracker.run_changed(run.run_id)
    study.prune_scored(work)
    prune_branches(study.storage, study.runs, work)
    if work.train or work.score:
        say = partial(console.print, highlight=False, soft_wrap=True)
        do_work(study, work, options, Hearers(tracker, partial(StudyProgress, console), say, switch))
    left = study.open_work()
    prune_branches(study.storage, study.runs, left)
    study.gather()
    answered = _answer(study, console) if answer is None else answer(study, console, tracker)
    with study.answer_files() as folder:
        files = sorted(folder.iterdir()) if answered else []
        problem = tracker.close("FINISHED" if left.is_empty else "FAILED", files)
    if left.enough is not None:
        print_left_out(left.enough, console)
    said = "; ".join(filter(None, (problem, tracker.promise))) if problem else None
    _say_where(study, left, said, tracker.is_on, console)
    return Outcome(left, answered)


def _open_work(study: Study, train: bool) -> OpenWork:
    study.check_tuned()
    work = study.open_work()
    if work.train and not train:
        raise StudyError(
            f"{len(work.train)} of {len(study.runs)} runs of study '{study.name}' are not trained "
            f"({study.storage.shown}); `scaling run` trains them"
        )
    return work


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


def _say_where(study: Study, left: OpenWork, problem: str | None, use_mlflow: bool, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    storage = study.storage
    say(f"\nresults, recipes and figures: {storage.path() if storage.is_local else storage.shown}")
    if use_mlflow:
        say(f"MLflow: {shown(study.tracking_uri)} (open it with `scaling ui STUDY`)")
    if problem:
        say(problem)
    if left.out_of_memory:
        say(
            f"out of memory: {len(left.out_of_memory)} runs, named by `scaling status`; they are trained again with "
            "other resources (a smaller resources.micro_batch, more workers)"
        )
    if left.train or left.score:
        say(f"unfinished: {len(left.train)} runs, {len(left.score)} checkpoints to score; run again to go on")
