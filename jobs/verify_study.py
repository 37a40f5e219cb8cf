"""`scaling verify`: the law's predictions are written down, the models that they are of trained, the outcomes told."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from analysis import Answer
from analysis.answers.answering import region_scores
from analysis.answers.recommend import recommend
from analysis.verify.verification import Trial, Verification
from jobs.answer import answer_study, verifications_of
from jobs.arguments import asked
from jobs.print_verification import Cost, print_outcome, print_planned, save_pages
from jobs.study_run import Outcome, run_study
from scaling.cluster.counts import image_counts
from scaling.cluster.driver import RunOptions, check_before
from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.specs.run import RunSpec
from scaling.study_log import RunNote
from scaling.tracking import Tracker, connect
from scaling.verify.study import file_name, forget, verifying_study, write
from scaling.verify.trials import PlannedTrial, fresh_seed, plan_trials, seconds_of


@dataclass(frozen=True)
class Question:
    """What is to be verified. again: once more with another seed, though it was verified before."""

    flops: float
    region: str | None = None
    family: str | None = None
    again: bool = False


def verify_study(
    study: Study, question: Question, options: RunOptions, console: Console, use_mlflow: bool = True,
    plan_only: bool = False,
) -> Outcome | None:  # fmt: skip
    """Predict, train, score and compare; a verification that was begun goes on. None where it was only planned.

    Raises:
        StudyError: no law splits the budget, or anything that `run_study` refuses; nothing is left behind then.
    """
    answer = answer_study(study)
    known = verifications_of(study)
    family, allocation = asked(recommend, answer, question.flops, question.region, question.family)
    begun = _begun(known, replace(question, family=family, region=question.region or answer.target))
    if begun is None:
        found = _planned(study, answer, question, family, allocation.n_params.value, known, options, console)
    else:
        found = begun
    runs = [RunSpec.model_validate_json(trial.spec) for trial in found.trials]
    seconds = seconds_of(study.records.values(), runs, found.total_flops)
    print_planned(found, answer, allocation, Cost(seconds, len(study.runs) - len(study.records)), console)
    if plan_only:
        return None
    return _run(study, found, runs, options, console, use_mlflow, new=begun is None)


def _begun(known: Sequence[Verification], question: Question) -> Verification | None:
    """The verification that the question goes on with: the last of its budget, region and family."""
    alike = [one for one in known if one.of(question.flops, str(question.region), str(question.family))]
    last = max(alike, key=lambda one: one.seed, default=None)
    return None if last is None or (question.again and last.ended) else last


def _planned(
    study: Study, answer: Answer, question: Question, family: str, n_params: float, known: Sequence[Verification],
    options: RunOptions, console: Console,
) -> Verification:  # fmt: skip
    """A new verification: its runs and what the laws say of them."""
    check_before(study, options)
    say = partial(console.print, highlight=False, soft_wrap=True)
    counts = image_counts(study, options.data_dir, options.address, options.cache_dir, say)
    own = [run for run in study.runs if run.run_id in answer.runs_of(family)]
    seed = fresh_seed([*study.spec.seeds, *(one.seed for one in known)], study.spec.dataset.name)
    name = verifying_study(study, track=False).name
    planned = plan_trials(own, n_params, question.flops, counts, seed, name)
    return Verification(
        study=study.name, flops=question.flops, region=question.region or answer.target, family=family,
        law=answer.rows.mark, largest_flops=float(answer.rows.table.values("flops").max()), seed=seed,
        trials=tuple(_predicted(answer, family, trial) for trial in planned.trials), left_out=planned.left_out,
        simulated=answer.rows.table.names_simulated(),
    )  # fmt: skip


def _predicted(answer: Answer, family: str, trial: PlannedTrial) -> Trial:
    axes = {"n_params": trial.n_params, "samples_seen": trial.samples_seen, "flops": trial.flops}
    return Trial(
        label=trial.label, run_id=trial.run.run_id, model=trial.run.model.label(), how=trial.how,
        n_params=trial.n_params, n_samples=trial.n_samples, epochs=trial.run.training.epochs, flops=trial.flops,
        spec=trial.run.model_dump_json(),
        predictions=answer.predict(family, **axes, n_samples=trial.n_samples),
    )  # fmt: skip


def _run(
    study: Study, found: Verification, runs: Sequence[RunSpec], options: RunOptions, console: Console,
    use_mlflow: bool, new: bool,
) -> Outcome:  # fmt: skip
    """Train and score; the predictions are written before anything starts."""
    derived = verifying_study(study, runs, use_mlflow)
    name = file_name(found.flops, found.region, found.family, found.seed)
    check_before(derived, options)
    if new:
        write(study, name, found.model_dump_json(indent=1))
    try:
        outcome = run_study(derived, options, console, use_mlflow, answer=partial(_conclude, study, found, name))
    except StudyError:
        if new and not derived.records:
            forget(study, name)
        raise
    if outcome.stopped is None:
        _tell_study(study, use_mlflow)
    return outcome


def _tell_study(study: Study, use_mlflow: bool) -> None:
    """The study's own answer, and its run in MLflow, hold the verification too."""
    answer_study(study)
    client = connect(study.tracking_uri) if use_mlflow else None
    tracker = Tracker(client, study.spec, study.storage, study.results, study.is_own)
    with study.answer_files() as folder:
        tracker.close("FINISHED" if study.open_work().is_empty else "FAILED", sorted(folder.iterdir()))


def _conclude(study: Study, found: Verification, name: str, derived: Study, console: Console, tracker: Tracker) -> bool:
    """Write down and print what came out; whether every model has its score, or a reason for none."""
    ended = with_outcomes(found, derived)
    write(study, name, ended.model_dump_json(indent=1))
    for trial in ended.trials:
        tracker.note(trial.run_id, _note(study, ended, trial))
    every = verifications_of(study)
    with tempfile.TemporaryDirectory() as scratch:
        save_pages(every, Path(scratch))
        derived.save_answer(Path(scratch))
    print_outcome(ended, every, console)
    return ended.ended


def with_outcomes(found: Verification, derived: Study) -> Verification:
    """The verification with what its runs came to so far."""
    scores: dict[str, dict[str, float]] = {}
    if any(record.status == "finished" for record in derived.records.values()):
        try:
            scores = asked(region_scores, derived.table())
        except StudyError:  # nothing is scored yet
            scores = {}
    return found.model_copy(update={"trials": tuple(_came_to(trial, derived, scores) for trial in found.trials)})


def _came_to(trial: Trial, derived: Study, scores: dict[str, dict[str, float]]) -> Trial:
    record = derived.records.get(trial.run_id)
    got = scores.get(trial.run_id, {})
    if record is None or (record.status == "finished" and derived.lacking(trial.run_id, record.epochs)):
        return trial.model_copy(update={"status": "open", "got": got})
    return trial.model_copy(update={"status": record.status, "reason": record.reason or "", "got": got})


def _note(study: Study, found: Verification, trial: Trial) -> RunNote:
    """Prediction, intervals and outcome as metrics of the run in MLflow, and what marks it as a verification."""
    metrics: dict[str, float] = {f"got.{region}": score for region, score in trial.got.items()}
    for region, said in trial.predictions.items():
        ends = {"low": said.law.low, "high": said.law.high, "run_low": said.run.low, "run_high": said.run.high}
        metrics[f"predicted.{region}"] = said.law.value
        metrics |= {f"predicted_{end}.{region}": value for end, value in ends.items() if value is not None}
    marks = {"scaling.verifies": study.name, "scaling.verification": f"{found.headline()}: {trial.label}"}
    return RunNote(metrics, marks)
