"""MLflow mirrors a study while it runs: one parent run a study, one child a run; what is missing is logged later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.errors import DamagedFile, StudyError
from scaling.mlflow_store import connect as connect
from scaling.mlflow_store import is_of_store, told
from scaling.mlflow_store import tracking_uri as tracking_uri
from scaling.records import AlignmentRecord, EpochRecord, ResultsStore, RunRecord
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study_log import RunNote, StudyLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_INTERVAL_S = 3.0
PAUSE_S = 10.0  # after a failure: a dead server costs this thread little, and no other anything
CLOSE_S = 15.0  # how long a server that is away is waited for at the end
NEXT_RUN = "the next `scaling run` logs what is missing"
Results = Callable[[str], tuple[RunRecord | None, Sequence[AlignmentRecord]]]


@dataclass
class News:
    """What is to be logged of one run. epochs: that have ended; changed: its record or scores have."""

    run: RunSpec | None = None
    epochs: list[EpochRecord] = field(default_factory=list)
    changed: bool = False

    def then(self, later: News) -> News:
        """With what came later."""
        return News(later.run or self.run, self.epochs + later.epochs, self.changed or later.changed)


class Tracker:
    """Logs beside the study, in a thread of its own: a slow or absent server never holds up a run.

    News of all runs are gathered for a few seconds and logged in one call a run. What the server did not take is kept
    and logged once it is back, or else by the next study, from the store.

    Args:
        results: run_id -> its record and its scores, as the study has read them; None: read from the storage.
        is_own: whether a score by a benchmark and a protocol is what the study asks for, see `StudyLog`.
    """

    def __init__(
        self,
        client: MlflowClient | None,
        study: StudySpec,
        storage: Storage,
        results: Results | None = None,
        is_own: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._client, self._study, self._storage, self._is_own = client, study, storage, is_own
        self._results = results or _stored(storage)
        self._notes: dict[str, RunNote] = {}
        self._runs: dict[str, RunSpec] = {}  # that train
        self._news: dict[str, News] = {}
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._log: StudyLog | None = None
        self._away: str | None = None  # why the server takes nothing at the moment
        self._lacks: str | None = None if client is not None else "not connected (--no-mlflow)"
        self.promise = NEXT_RUN  # what follows a problem; none where somebody has to do something first
        self._thread = threading.Thread(target=self._work, daemon=True)
        if client is not None:
            self._thread.start()

    @property
    def is_on(self) -> bool:
        return self._client is not None

    @property
    def problem(self) -> str | None:
        """Why MLflow lacks something."""
        return self._away or self._lacks

    def epochs_ended(self, run: RunSpec, records: Sequence[EpochRecord]) -> None:
        """Epochs of a run that trains: in MLflow within seconds. The first one says when the run began."""
        self._put(run.run_id, News(run, list(records)))

    def run_changed(self, run_id: str) -> None:
        """A run ended or was scored: mirror it soon."""
        self._put(run_id, News(changed=True))

    def note(self, run_id: str, note: RunNote) -> None:
        """Have something stand at a run, once it has ended."""
        self._notes[run_id] = note
        self.run_changed(run_id)

    def close(self, status: str, artifacts: Sequence[Path], wait_s: float | None = None) -> str | None:
        """Wait for what is queued, log the artifacts, end the study's run; why MLflow lacks something, or None."""
        if self._client is None:
            return self.problem
        self._closing.set()
        self._thread.join(wait_s)
        if self._thread.is_alive():
            return f"MLflow did not take everything within {wait_s:g} s"
        if self.problem is None:
            self._try(lambda log: self._finish(log, status, artifacts))
        return self.problem

    def _finish(self, log: StudyLog, status: str, artifacts: Sequence[Path]) -> None:
        log.log_answer(artifacts)
        log.end(status)

    def _put(self, run_id: str, news: News) -> None:
        if self._client is None:
            return
        with self._lock:
            self._news[run_id] = self._news.pop(run_id, News()).then(news)

    def _work(self) -> None:
        """Every few seconds, log what is new of each run; at the end, wait a while for a server that is away."""
        closed_at: float | None = None
        while closed_at is None or (self._away is not None and time.monotonic() - closed_at < CLOSE_S):
            self._closing.wait(FLUSH_INTERVAL_S if self._away is None else PAUSE_S)
            if self._closing.is_set():
                time.sleep(0 if closed_at is None else 1)
                closed_at = closed_at or time.monotonic()
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            news, self._news = self._news, {}
        for run_id in sorted(news):
            if not self._try(partial(self._mirror, run_id=run_id, news=news[run_id])):
                break
            del news[run_id]
        with self._lock:  # what the server did not take comes before what is new since
            later, self._news = self._news, news
            for run_id, new in later.items():
                self._news[run_id] = self._news.get(run_id, News()).then(new)

    def _mirror(self, log: StudyLog, run_id: str, news: News) -> None:
        if news.run is not None:
            self._runs[run_id] = news.run
        run = self._runs.get(run_id)
        if run is not None and news.epochs:
            log.log_epochs(run, news.epochs)
            news.epochs.clear()
        if news.changed:
            self._mirror_results(log, run_id, run)

    def _mirror_results(self, log: StudyLog, run_id: str, run: RunSpec | None) -> None:
        record, scores = self._results(run_id)
        if record is None:
            if run is not None:
                log.log_scores(run_id, run, scores)
            return
        log.log_run(record)
        run = RunSpec.model_validate_json(record.spec)
        log.log_scores(run_id, run, scores, record.ended_at)
        if run_id in self._notes:
            log.log_note(record, self._notes[run_id])
        self._runs.pop(run_id, None)

    def _try(self, action: Callable[[StudyLog], None]) -> bool:
        """Whether it is dealt with; no: the server is away."""
        try:
            if self._log is None:
                assert self._client is not None
                self._log = StudyLog(self._client, self._study, self._storage, self._is_own)
            action(self._log)
        except DamagedFile as error:  # of this run: the server is well, the other runs go on
            self._lacks = f"MLflow lacks a run ({error})"
        except StudyError as error:
            self._lacks, self.promise = f"MLflow takes nothing: {error}", ""
        except Exception as error:
            if not is_of_store(error):
                self._lacks = f"MLflow's mirror broke off ({type(error).__name__}: {error})"
                raise
            self._log = None  # its experiment may be gone: asked for again
            self._away = f"MLflow did not take everything ({told(error, self._uri)})"
            return False
        self._away = None
        return True

    @property
    def _uri(self) -> str:
        return tracking_uri(self._study, self._storage)


def _stored(storage: Storage) -> Results:
    store = ResultsStore(storage)
    return lambda run_id: (store.read_run(run_id), store.read_scores([run_id]))
