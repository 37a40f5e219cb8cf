"""MLflow mirrors the results store: one parent run a study, one child a run; what is missing is logged later."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import DamagedFile, StudyError
from scaling.mlflow_store import connect as connect
from scaling.mlflow_store import is_of_store, told
from scaling.mlflow_store import tracking_uri as tracking_uri
from scaling.records import AlignmentRecord, ResultsStore, RunRecord
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study_log import RunNote, StudyLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_INTERVAL_S = 3.0
PAUSE_S = 30.0  # after a failure, so that a dead server costs a study little
NEXT_RUN = "the next `scaling run` logs what is missing"
Results = Callable[[str], tuple[RunRecord | None, Sequence[AlignmentRecord]]]


class Tracker:
    """Logs beside the study, in a thread of its own: a slow or absent server never holds up a run.

    What the server did not take stays in the store, and the next study logs it.

    Args:
        results: run_id -> its record and its scores, as the study has read them; None: read from the storage.
    """

    def __init__(
        self,
        client: MlflowClient | None,
        study: StudySpec,
        storage: Storage,
        results: Results | None = None,
    ) -> None:
        self._client, self._study, self._storage = client, study, storage
        self._results = results or _stored(storage)
        self._notes: dict[str, RunNote] = {}
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._log: StudyLog | None = None
        self._failed_at = -PAUSE_S
        self.problem: str | None = None if client is not None else "not connected (--no-mlflow)"
        self.promise = NEXT_RUN  # what follows a problem; none where somebody has to do something first
        self._thread = threading.Thread(target=self._work, daemon=True)
        if client is not None:
            self._thread.start()

    @property
    def is_on(self) -> bool:
        return self._client is not None

    def run_changed(self, run_id: str) -> None:
        """A run ended or was scored: mirror it soon."""
        if self._client is not None:
            self._queue.put(run_id)

    def note(self, run_id: str, note: RunNote) -> None:
        """Have something stand at a run, once it has ended."""
        self._notes[run_id] = note
        self.run_changed(run_id)

    def close(self, status: str, artifacts: Sequence[Path], wait_s: float | None = None) -> str | None:
        """Wait for what is queued, log the artifacts, end the study's run; why MLflow lacks something, or None."""
        if self._client is None:
            return self.problem
        self._queue.put(None)
        self._thread.join(wait_s)
        if self._thread.is_alive():
            return f"MLflow did not take everything within {wait_s:g} s"
        if self.problem is None:
            self._try(lambda log: self._finish(log, status, artifacts))
        return self.problem

    def _finish(self, log: StudyLog, status: str, artifacts: Sequence[Path]) -> None:
        for path in artifacts:
            log.log_artifact(path)
        log.end(status)

    def _work(self) -> None:
        """Gather changed runs for a few seconds, however many, then mirror each once."""
        closing = False
        while not closing:
            changed = {self._queue.get()}
            until = time.monotonic() + FLUSH_INTERVAL_S
            while None not in changed and (left := until - time.monotonic()) > 0:
                try:
                    changed.add(self._queue.get(timeout=left))
                except queue.Empty:
                    break
            closing = None in changed
            for run_id in sorted(run_id for run_id in changed if run_id is not None):
                self._try(lambda log, run_id=run_id: self._mirror(log, run_id))

    def _mirror(self, log: StudyLog, run_id: str) -> None:
        record, scores = self._results(run_id)
        if record is not None:
            log.log_run(record)
            log.log_scores(record, scores)
            if run_id in self._notes:
                log.log_note(record, self._notes[run_id])

    def _try(self, action: Any) -> None:
        if time.monotonic() - self._failed_at < PAUSE_S:
            return
        try:
            if self._log is None:
                assert self._client is not None
                self._log = StudyLog(self._client, self._study, self._storage)
            action(self._log)
        except DamagedFile as error:  # of this run: the server is well, the other runs go on
            self.problem = f"MLflow lacks a run ({error})"
        except StudyError as error:
            self.problem, self.promise = f"MLflow takes nothing: {error}", ""
        except Exception as error:
            if not is_of_store(error):
                self.problem = f"MLflow's mirror broke off ({type(error).__name__}: {error})"
                raise
            self._failed_at, self._log = time.monotonic(), None  # its experiment may be gone: asked for again
            self.problem = f"MLflow did not take everything ({told(error, self._uri)})"

    @property
    def _uri(self) -> str:
        return tracking_uri(self._study, self._storage)


def _stored(storage: Storage) -> Results:
    store = ResultsStore(storage)
    return lambda run_id: (store.read_run(run_id), store.read_scores([run_id]))
