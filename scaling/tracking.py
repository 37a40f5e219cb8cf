"""MLflow mirrors the results store: one parent run a study, one child a run; what is missing is logged later."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import DamagedFile, StudyError
from scaling.layout import MLFLOW_ARTIFACTS, MLFLOW_FILE
from scaling.logged import RunNote, epoch_metrics, metrics
from scaling.place import Place, is_uri, shown
from scaling.protocol_text import protocol_digest, protocol_suffix
from scaling.records import AlignmentRecord, ResultsStore, RunRecord
from scaling.specs.study import StudySpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_INTERVAL_S = 3.0
METRICS_A_BATCH = 1000  # MLflow's own limit for log_batch
RUNS_A_PAGE = 1000
RUN_TAG, KIND_TAG, DONE_TAG = "scaling.run_id", "scaling.kind", "scaling.logged"
PROTOCOL_TAG = "scaling.protocol"  # followed by a digest: the protocol that scores with this digest in their name have
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's view for training runs
PAUSE_S = 30.0  # after a failure, so that a dead server costs a study little


def tracking_uri(study: StudySpec, storage: Storage) -> str:
    """The study's MLflow URI: its own, or a SQLite file beside local results.

    Raises:
        StudyError: results are remote and no URI is given.
    """
    if study.mlflow is not None:
        return study.mlflow
    if not storage.is_local:
        raise StudyError(
            f"storage='{storage.shown}' is remote and mlflow is not set (study '{study.name}'); "
            "give mlflow: an http(s) server, or sqlite:///a/local/file.db"
        )
    return f"sqlite:///{storage.path(MLFLOW_FILE)}"


def connect(uri: str) -> MlflowClient:
    """A client whose store answers.

    Raises:
        StudyError: the server or file cannot be reached.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    from mlflow import MlflowClient

    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except _store_errors() as error:
        said = Place.of(uri).hide(str(error).splitlines()[0]) if is_uri(uri) else str(error).splitlines()[0]
        raise StudyError(
            f"mlflow='{shown(uri)}' does not answer ({said}); start it, correct the URI, "
            "or run with --no-mlflow and log by a later run"
        ) from error
    return client


class StudyLog:
    """One study's runs in MLflow; every call may be repeated and adds only what is missing."""

    def __init__(self, client: MlflowClient, study: StudySpec, storage: Storage) -> None:
        self.client, self.study = client, study
        self.store = ResultsStore(storage)
        self.experiment_id = self._experiment(storage)
        there = self._existing()
        self.parent_id = there.get(("study", study.name), ("", {}))[0] or self._create_parent()
        self.children = {name: child for (kind, name), child in there.items() if kind == "run"}

    def log_run(self, record: RunRecord) -> None:
        """Everything about a run that ended: parameters, metrics by epoch, its throughput as `run_…`, status."""
        child, tags = self._child(record)
        if tags.get(DONE_TAG) == record.status:
            return
        self._log_params(child, record)
        epochs = self.store.read_epochs(record.run_id)
        _refuse_damaged(self.store)
        self._log_metrics(child, epoch_metrics(epochs))
        facts = {"n_params": record.n_params, "n_samples": record.n_samples, "flops": record.flops}
        facts |= {"train_s": record.train_s, "n_skipped": record.n_skipped}
        facts |= {f"run_{name}": getattr(record, name) for name in ("images_per_s", "flops_per_s", "compute_share")}
        self._log_metrics(child, metrics(facts, step=record.epochs_done))
        if record.reason:
            self._tag(child, tags, "reason", record.reason[:5000])
        elif tags.pop("reason", None):  # of an earlier try
            self.client.delete_tag(child, "reason")
        self.client.set_terminated(child, "FINISHED" if record.status == "finished" else "FAILED")
        self._tag(child, tags, DONE_TAG, record.status)

    def log_scores(self, record: RunRecord, scores: Sequence[AlignmentRecord]) -> None:
        """Scores by benchmark and protocol, step = epoch; those that are there already are left.

        `score.<benchmark>` is by the default protocol, `score.<benchmark>/<digest>` by another, which a tag spells out.
        """
        child, tags = self._child(record)
        places: dict[tuple[str, int], list[AlignmentRecord]] = defaultdict(list)
        for score in scores:
            if score.score is not None:
                places[score.benchmark, score.epoch].append(score)
        for there in places.values():
            self._tell_apart(child, tags, there)
            for score in there:
                if _score_tag(score) not in tags:
                    self._log_score(child, tags, score)

    def _log_score(self, child: str, tags: dict[str, str], score: AlignmentRecord) -> None:
        name = f"{score.benchmark}{protocol_suffix(score.protocol)}"
        self._log_metrics(child, metrics({f"score.{name}": score.score, f"raw.{name}": score.raw}, score.epoch))
        protocol_tag = f"{PROTOCOL_TAG}.{protocol_digest(score.protocol)}"
        if protocol_suffix(score.protocol) and protocol_tag not in tags:
            self._tag(child, tags, protocol_tag, score.protocol[:5000])
        self._tag(child, tags, _score_tag(score), str(score.layer))

    def _tell_apart(self, child: str, tags: dict[str, str], there: Sequence[AlignmentRecord]) -> None:
        """A tag of versions before, which named no protocol, stands for the default's score, else for those there."""
        former = f"{DONE_TAG}.{there[0].benchmark}.{there[0].epoch}"
        if former in tags and all(protocol_suffix(score.protocol) for score in there):
            for score in there:
                self._tag(child, tags, _score_tag(score), str(score.layer))
            self.client.delete_tag(child, former)
            del tags[former]

    def log_note(self, record: RunRecord, note: RunNote) -> None:
        """Metrics and tags that no record holds, each once; what has changed is logged beside what was there."""
        child, tags = self._child(record)
        there = self.client.get_run(child).data.metrics
        new = {name: value for name, value in note.metrics.items() if there.get(name) != value}
        self._log_metrics(child, metrics(new, record.epochs_done))
        for key, value in note.tags.items():
            if tags.get(key) != value:
                self._tag(child, tags, key, value)

    def log_artifact(self, path: Path) -> None:
        """A figure or a recipe, at the study's parent run."""
        self.client.log_artifact(self.parent_id, str(path))

    def end(self, status: str) -> None:
        self.client.set_terminated(self.parent_id, status)

    def _experiment(self, storage: Storage) -> str:
        found = self.client.get_experiment_by_name(self.study.name)
        if found is not None:
            return str(found.experiment_id)
        uri = self.study.mlflow  # a file on this machine has no server that would have a place of its own
        local = storage.is_local and (uri is None or uri.startswith("sqlite:"))
        place = Path(storage.path(MLFLOW_ARTIFACTS)).as_uri() if local else None
        return str(self.client.create_experiment(self.study.name, artifact_location=place, tags=EXPERIMENT_TAGS))

    def _existing(self) -> dict[tuple[str, str], tuple[str, dict[str, str]]]:
        """(kind, name) -> (MLflow's run id, tags) of everything logged before."""
        found: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], max_results=RUNS_A_PAGE, page_token=token)
            for run in page:
                tags = dict(run.data.tags)
                if RUN_TAG in tags:
                    found[tags[KIND_TAG], tags[RUN_TAG]] = (str(run.info.run_id), tags)
            token = page.token
            if not token:
                return found

    def _create_parent(self) -> str:
        """The study's own run, with what its runs have in common."""
        from mlflow.entities import Param

        parent = self._create(self.study.name, "study", self.study.name)
        shown = self.study.model_dump(
            mode="json", include={"dataset", "data_sizes", "seeds", "objective", "benchmarks"}
        )
        families = {f"models.{family.family}": list(family.sizes) for family in self.study.models}
        params = [Param(key, str(value)[:6000]) for key, value in (shown | families).items()]
        self.client.log_batch(parent, params=params)
        return parent

    def _tag(self, child: str, tags: dict[str, str], key: str, value: str) -> None:
        self.client.set_tag(child, key, value)
        tags[key] = value

    def _create(self, run_name: str, kind: str, name: str, parent: str | None = None) -> str:
        tags = {RUN_TAG: name, KIND_TAG: kind}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        return str(self.client.create_run(self.experiment_id, run_name=run_name, tags=tags).info.run_id)

    def _child(self, record: RunRecord) -> tuple[str, dict[str, str]]:
        """MLflow's run of a record, made if it is not there, and its tags."""
        if record.run_id not in self.children:
            images = "all" if record.images_per_class is None else record.images_per_class
            depth = "" if record.depth is None else f"-{record.depth}"
            name = f"{record.family}{depth} w{record.size} {images}/class seed {record.seed}"
            self.children[record.run_id] = (self._create(name, "run", record.run_id, self.parent_id), {})
        return self.children[record.run_id]

    def _log_params(self, child: str, record: RunRecord) -> None:
        """What is known and not there yet: MLflow refuses to change a parameter, and a retry knows more than a failure.

        The spec of a run that was given up is not logged: the next try may have other resources.
        """
        from mlflow.entities import Param

        columns = ("family", "size", "depth", "variant", "dataset", "image_size", "seed", "objective", "epochs")
        values = {column: getattr(record, column) for column in columns}
        values |= {"run_id": record.run_id, "images_per_class": record.images_per_class or "all"}
        if record.status in ("finished", "diverged"):
            values["spec"] = record.spec[:6000]
        there = self.client.get_run(child).data.params
        new = [Param(key, str(value)) for key, value in values.items() if value is not None and key not in there]
        if new:
            self.client.log_batch(child, params=new)

    def _log_metrics(self, child: str, found: list[Any]) -> None:
        for start in range(0, len(found), METRICS_A_BATCH):
            self.client.log_batch(child, metrics=found[start : start + METRICS_A_BATCH])


class Tracker:
    """Logs beside the study, in a thread of its own: a slow or absent server never holds up a run.

    What the server did not take stays in the store, and the next study logs it.

    Args:
        results: run_id -> its record and its scores, as the study has read them.
    """

    def __init__(
        self,
        client: MlflowClient | None,
        study: StudySpec,
        storage: Storage,
        results: Callable[[str], tuple[RunRecord | None, Sequence[AlignmentRecord]]],
    ) -> None:
        self._client, self._study, self._storage, self._results = client, study, storage, results
        self._notes: dict[str, RunNote] = {}
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._log: StudyLog | None = None
        self._failed_at = -PAUSE_S
        self.problem: str | None = None if client is not None else "not connected (--no-mlflow)"
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
        except StudyError as error:  # a damaged file of this run: the server is well, the other runs go on
            self.problem = f"MLflow lacks a run ({error})"
        except _store_errors() as error:
            self._failed_at = time.monotonic()
            self.problem = f"MLflow did not take everything ({str(error).splitlines()[0]})"


def _refuse_damaged(store: ResultsStore) -> None:
    """What is damaged among the rows that were just read is not to be logged as if there were none."""
    if store.damaged:
        name, reason = store.damaged.popitem()
        raise DamagedFile(f"'{store.storage.path(name)}' is damaged: {reason}")


def _store_errors() -> tuple[type[Exception], ...]:
    """What MLflow's client raises when its server or database fails it."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def _score_tag(score: AlignmentRecord) -> str:
    return f"{DONE_TAG}.{score.benchmark}.{score.epoch}{protocol_suffix(score.protocol)}"
