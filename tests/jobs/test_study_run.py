"""How `scaling run` ends, by its exit status and its last line; without Ray."""

from __future__ import annotations

import errno
import io
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

from jobs import study_run
from jobs.study_run import Outcome, run_study
from scaling import driver_lock
from scaling.cluster.driver import RunOptions
from scaling.cluster.stopping import Stopped
from scaling.cluster.watch import cluster_lost
from scaling.errors import StudyError
from scaling.layout import LOCK
from scaling.ledger import OpenWork, open_study
from scaling.storage import Storage

FULL = OSError(errno.ENOSPC, "No space left on device", "/results/answer/figure.png")


@pytest.fixture
def run(make_study, tmp_path: Path, monkeypatch):
    """run_study of the tiny study with its work and its answer replaced: the outcome and what was said."""

    def start(work, answer=lambda study, console: True, storage=tmp_path / "results") -> tuple[Outcome, list[str]]:
        monkeypatch.setattr(study_run, "do_work", lambda *words: work())
        monkeypatch.setattr(study_run, "_answer", answer)
        said = io.StringIO()
        study = open_study(make_study(), storage)
        outcome = run_study(study, RunOptions(tmp_path), Console(file=said, width=200), use_mlflow=False)
        return outcome, said.getvalue().splitlines()

    return start


def raising(error: BaseException):
    def work(*words: object) -> None:
        raise error

    return work


ENDS = {
    "an interrupt": (lambda: signal.raise_signal(signal.SIGINT), 130, "interrupted: the same command goes on"),
    "SIGTERM": (lambda: signal.raise_signal(signal.SIGTERM), 143, "terminated: the same command goes on"),
    "a full disk": (
        raising(FULL),
        1,
        "the study's files cannot be written or read ([Errno 28] No space left on device",
    ),
    "a lost head": (raising(cluster_lost("its head does not answer")), 1, "the Ray cluster is gone (its head does not"),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_stops_a_study_is_one_line_and_a_status(run, case):
    work, status, line = ENDS[case]
    outcome, said = run(work)
    assert outcome.status == status
    assert len(outcome.left.train) == 1
    assert len(said) == 1
    assert said[0].startswith(line)
    assert (outcome.answered, isinstance(outcome.stopped, Stopped)) == (False, True)


def test_a_disk_that_fills_while_figures_are_written_is_one_line(run):
    outcome, said = run(lambda: None, raising(FULL))
    assert (outcome.status, outcome.answered) == (1, False)
    assert said[-1].startswith("the study's files cannot be written or read (")
    assert "figure.png" in said[-1]


def test_an_interrupt_while_laws_are_fitted_ends_it_too(run):
    outcome, said = run(lambda: None, lambda study, console: signal.raise_signal(signal.SIGINT))
    assert (outcome.status, said[-1]) == (130, "interrupted: the same command goes on")


def test_the_lock_is_free_after_a_stop(run):
    run(raising(FULL))
    assert run(raising(FULL))[0].status == 1


def test_mistakes_are_still_refused(run):
    with pytest.raises(StudyError, match="no such layer"):
        run(raising(StudyError("no such layer")))


@pytest.mark.parametrize(
    ("left", "answered", "status"),
    [(OpenWork(), True, 0), (OpenWork(), False, 1), (OpenWork(score={("a", 1): ("x",)}), True, 1)],
)
def test_only_a_study_that_is_whole_and_answered_ends_with_0(left, answered, status):
    assert Outcome(left, answered).status == status


def test_a_driver_whose_study_another_took_over_ends_with_one_line(run, s3, monkeypatch):
    monkeypatch.setattr(driver_lock, "BEAT_S", 0.1)

    def work() -> None:
        Storage(s3).child("tiny").delete_folder(LOCK)
        time.sleep(60)

    began = time.monotonic()
    outcome, said = run(work, storage=s3)
    assert (outcome.status, len(said)) == (1, 1)
    assert "/tiny/.lock" in said[0]
    assert said[0].endswith("' was removed: nothing goes on here")
    assert time.monotonic() - began < 30
