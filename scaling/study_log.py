"""One study in MLflow: a parent run, a child a run; what is there already is not logged again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import DamagedFile, MissingFile, StudyError
from scaling.layout import DATASET_FILE, MLFLOW_ARTIFACTS
from scaling.mlflow_store import SQLITE, key_of, tracking_uri
from scaling.mlflow_values import (
    LONGEST_DIGEST,
    data_inputs,
    ended_metrics,
    epoch_metrics,
    epoch_times,
    filter_tags,
    metrics,
    ms,
    params,
    region_metrics,
    run_params,
    run_tags,
    score_metrics,
    started_at,
    tag_text,
)
from scaling.model_log import ModelLog, model_tags
from scaling.place import shown
from scaling.protocol_text import protocol_digest, protocol_settings, protocol_suffix
from scaling.records import AlignmentRecord, EpochRecord, ResultsStore, RunRecord, kept_epochs
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study_note import NOTE_TAG, study_note

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENDINGS = {"finished": "FINISHED", "cut": "KILLED"}  # MLflow's words; a cut probe was stopped, and did not fail
METRICS_A_BATCH, TAGS_A_BATCH = 850, 100  # MLflow takes 1000 metrics, parameters and tags at once, of tags 100
RUNS_A_PAGE = 1000
RUN_TAG, KIND_TAG, DONE_TAG = "scaling.run_id", "scaling.kind", "scaling.logged"
EPOCH_TAG = "scaling.epochs"  # up to which all epochs are logged
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own
PROTOCOL_TAG = "scaling.protocol"  # followed by a digest: the protocol that scores with this digest in their name have
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's view for training runs


@dataclass(frozen=True)
class RunNote:
    """What is to stand at a run beside its record and scores."""

    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass
class Child:
    """MLflow's run of a run, and what it holds of tags and parameters."""

    id: str
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)


class StudyLog:
    """One study's runs in MLflow; every call may be repeated and adds only what is missing.

    What one call of ours costs MLflow does not depend on how many runs there are; all of them are listed once.

    Args:
        is_own: whether a score by a benchmark and a protocol is what the study asks for; None: by default protocols.
    """

    def __init__(
        self, client: MlflowClient, study: StudySpec, storage: Storage, is_own: Callable[[str, str], bool] | None = None
    ) -> None:
        self.client, self.study = client, study
        self.store = ResultsStore(storage)
        self._is_own = is_own or (lambda benchmark, protocol: not protocol_suffix(protocol))
        self.experiment_id = self._experiment(storage)
        there = self._existing()
        self.children = {name: child for (kind, name), child in there.items() if kind == "run"}
        self._models = ModelLog(client, self.experiment_id, storage, (child.id for child in self.children.values()))
        self._data = _data_mark(storage)
        protocol = protocol_settings(study.scoring, study.scoring.commitment)
        self._inputs = data_inputs(self._data, study.benchmarks, protocol)
        parent = there.get(("study", study.name))
        self.parent_id = self._create_parent() if parent is None else parent.id
        self._open: dict[str, float | None] = {}  # runs that train, and when their last epoch ended
        self._times: defaultdict[str, dict[int, float | None]] = defaultdict(dict)  # of epochs that may be scored
        self._adopt()

    def log_epochs(self, run: RunSpec, records: Sequence[EpochRecord]) -> None:
        """Epochs of a run that trains, each with the time when it ended."""
        child = self._going(run, started_at(records[0]))
        self._log_new_epochs(child, run.run_id, records)
        self._open[run.run_id] = records[-1].ended_at

    def log_run(self, record: RunRecord) -> None:
        """Everything about a run that ended: parameters, metrics by epoch, its throughput as `run_…`, status."""
        run = RunSpec.model_validate_json(record.spec)
        child = self._child(record.run_id, run, record.started_at or record.ended_at)
        if child.tags.get(DONE_TAG) == record.status:
            return
        epochs = self.store.read_epochs(record.run_id)
        _refuse_damaged(self.store)
        self._log_new_epochs(child, record.run_id, epochs, record.ended_at)
        times, kept = self._times[record.run_id], kept_epochs(record)
        self._times[record.run_id] = {epoch: times[epoch] for epoch in kept if epoch in times}
        reason = {"reason": record.reason} if record.reason else {}
        if not reason and "reason" in child.tags:  # of an earlier try
            self.client.delete_tag(child.id, "reason")
            del child.tags["reason"]
        models = model_tags(self._models.models_of(child.id, run, kept, child.tags))
        self._batch(child, ended_metrics(record), reason | models, run_params(run, record, self.study.tune))
        self.client.set_terminated(child.id, ENDINGS.get(record.status, "FAILED"), end_time=ms(record.ended_at))
        self._batch(child, [], {DONE_TAG: record.status})
        self._open.pop(record.run_id, None)

    def log_scores(
        self, run_id: str, run: RunSpec, scores: Sequence[AlignmentRecord], ended_at: float | None = None
    ) -> None:
        """Scores by benchmark and protocol, and the study's own by region; those that are there already are left.

        A protocol that is not the default is spelt out by a tag. They stand at the checkpoint's LoggedModel too.

        Args:
            ended_at: of the run, if it has ended.
        """
        places: defaultdict[int, list[AlignmentRecord]] = defaultdict(list)
        for score in scores:
            places[score.epoch].append(score)
        child = self._child(run_id, run, None)
        for epoch, there in sorted(places.items()):
            self._tell_apart(child, [score for score in there if score.score is not None])
            new = [score for score in there if score.score is not None and _score_tag(score) not in child.tags]
            if new:
                self._log_checkpoint(child, run, there, new, self._time(run_id, epoch, ended_at))

    def _log_checkpoint(
        self, child: Child, run: RunSpec, there: Sequence[AlignmentRecord], new: Sequence[AlignmentRecord],
        at: float | None,
    ) -> None:  # fmt: skip
        """The new ones of the scores that are there of a checkpoint."""
        epoch = new[0].epoch
        models = self._models.models_of(child.id, run, [epoch], child.tags)
        values: dict[str, float | None] = {}
        tags = model_tags(models) | {_score_tag(score): str(score.layer) for score in new}
        for score in new:
            values |= score_metrics(score)
            if protocol_suffix(score.protocol):
                tags[f"{PROTOCOL_TAG}.{protocol_digest(score.protocol)}"] = score.protocol
        own = [score for score in there if self._is_own(score.benchmark, score.protocol)]
        if any(score in own for score in new):
            values |= region_metrics(own)
        of = {} if self._data is None else {"dataset_name": self._data[0], "dataset_digest": self._data[1]}
        self._batch(child, metrics(values, epoch, at, model_id=models[epoch], **of), tags)

    def _time(self, run_id: str, epoch: int, ended_at: float | None) -> float | None:
        """When an epoch of a run ended; read from the store where it was not logged by this process."""
        if epoch not in self._times[run_id]:
            self._times[run_id] |= epoch_times(self.store.read_epochs(run_id), ended_at)
        return self._times[run_id].get(epoch)

    def _tell_apart(self, child: Child, there: Sequence[AlignmentRecord]) -> None:
        """A tag of versions before, which named no protocol, stands for the default's score, else for those there."""
        for benchmark in {score.benchmark for score in there}:
            scores = [score for score in there if score.benchmark == benchmark]
            former = key_of(f"{DONE_TAG}.{benchmark}.{scores[0].epoch}")
            if former in child.tags and all(protocol_suffix(score.protocol) for score in scores):
                self._batch(child, [], {_score_tag(score): str(score.layer) for score in scores})
                self.client.delete_tag(child.id, former)
                del child.tags[former]

    def log_note(self, record: RunRecord, note: RunNote) -> None:
        """Metrics and tags that no record holds, each once; what has changed is logged beside what was there."""
        child = self._child(record.run_id, RunSpec.model_validate_json(record.spec), record.started_at)
        there = self.client.get_run(child.id).data.metrics
        new = {name: value for name, value in note.metrics.items() if there.get(key_of(name)) != value}
        tags = {key: value for key, value in note.tags.items() if child.tags.get(key) != value}
        self._batch(child, metrics(new, record.epochs_done, None), tags)

    def log_answer(self, files: Sequence[Path]) -> None:
        """Figures, laws and recipes at the study's run, and the note that its page in the UI begins with."""
        for path in files:
            self.client.log_artifact(self.parent_id, str(path))
        if files:
            self.client.set_tag(self.parent_id, NOTE_TAG, study_note(self.study.name, files, self.parent_id))

    def end(self, status: str) -> None:
        """The study's run has ended, and those that trained with it."""
        for run_id, at in self._open.items():
            self.client.set_terminated(self.children[run_id].id, "KILLED", end_time=ms(at))
        self._open.clear()
        self.client.set_terminated(self.parent_id, status)

    def _experiment(self, storage: Storage) -> str:
        """The study's experiment, made where there is none.

        Raises:
            StudyError: it was deleted, which MLflow keeps hidden under its name; or the server is no MLflow.
        """
        found = self.client.get_experiment_by_name(self.study.name)
        if found is not None:
            _check_experiment(found, self.study.name, shown(tracking_uri(self.study, storage)))
            return str(found.experiment_id)
        uri = self.study.mlflow  # a file on this machine has no server that would have a place of its own
        local = storage.is_local and (uri is None or SQLITE.match(uri) is not None)
        place = Path(storage.path(MLFLOW_ARTIFACTS)).as_uri() if local else None
        return str(self.client.create_experiment(self.study.name, artifact_location=place, tags=EXPERIMENT_TAGS))

    def _existing(self) -> dict[tuple[str, str], Child]:
        """(kind, name) -> everything logged before."""
        found: dict[tuple[str, str], Child] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], max_results=RUNS_A_PAGE, page_token=token)
            for run in page:
                tags = dict(run.data.tags)
                if RUN_TAG in tags:
                    found[tags[KIND_TAG], tags[RUN_TAG]] = Child(str(run.info.run_id), tags, set(run.data.params))
            token = page.token
            if not token:
                return found

    def _adopt(self) -> None:
        """Children of a parent that was deleted are those of the new one."""
        for child in self.children.values():
            if child.tags.get(PARENT_TAG) != self.parent_id:
                self._batch(child, [], {PARENT_TAG: self.parent_id})

    def _create_parent(self) -> str:
        """The study's own run, with what its runs have in common."""
        parent = self._create(self.study.name, "study", self.study.name)
        fields = {"dataset", "data_sizes", "epochs", "budgets", "horizons", "seeds", "objective", "benchmarks"}
        written = self.study.model_dump(mode="json", include=fields)
        shown = {name: value for name, value in written.items() if value}
        families = {f"models.{family.family}": list(family.sizes) for family in self.study.models}
        self.client.log_batch(parent.id, params=params(shown | families))
        return parent.id

    def _create(
        self, run_name: str, kind: str, name: str, more: Mapping[str, str] | None = None, at: float | None = None
    ) -> Child:
        tags = {RUN_TAG: name, KIND_TAG: kind} | dict(more or {})
        run = self.client.create_run(self.experiment_id, start_time=ms(at), run_name=run_name, tags=tags)
        child = Child(str(run.info.run_id), tags)
        self.client.log_inputs(child.id, self._inputs)
        return child

    def _child(self, run_id: str, run: RunSpec, at: float | None) -> Child:
        """MLflow's run of a run, made if it is not there. at: when the training began."""
        if run_id not in self.children:
            images = "all" if run.images_per_class is None else run.images_per_class
            name = f"{run.model.label()} {images}/class seed {run.seed}"
            more = filter_tags(run) | {PARENT_TAG: self.parent_id}
            child = self.children[run_id] = self._create(name, "run", run_id, more, at)
            self._batch(child, [], {}, {"run_id": run_id} | run_params(run, None, self.study.tune))
        return self.children[run_id]

    def _going(self, run: RunSpec, at: float | None) -> Child:
        """MLflow's run of a run that trains."""
        child = self._child(run.run_id, run, at)
        if run.run_id not in self._open:
            if DONE_TAG in child.tags:  # of an earlier try
                self.client.update_run(child.id, status="RUNNING")
                self._batch(child, [], {DONE_TAG: "trained again"})
            self._open[run.run_id] = None
        return child

    def _log_new_epochs(
        self, child: Child, run_id: str, records: Sequence[EpochRecord], ended_at: float | None = None
    ) -> None:
        last, times = int(child.tags.get(EPOCH_TAG, -1)), epoch_times(records, ended_at)
        self._times[run_id] |= times
        new = [metric for metric in epoch_metrics(records, times) if metric.step > last]
        whole = _without_gap(last, records)
        for start in range(0, len(new), METRICS_A_BATCH):
            part = new[start : start + METRICS_A_BATCH]
            is_last = start + METRICS_A_BATCH >= len(new)
            logged = min(whole, part[-1].step if is_last else part[-1].step - 1)
            self._batch(child, part, {EPOCH_TAG: str(logged)} if logged > last else {})

    def _batch(
        self, child: Child, values: Sequence[Any], tags: Mapping[str, str], facts: Mapping[str, Any] | None = None
    ) -> None:
        """Metrics, tags and parameters in one call. MLflow refuses to change a parameter: those that are there stay."""
        new = {key: value for key, value in (facts or {}).items() if key not in child.params}
        written = run_tags(tags)
        for start in range(TAGS_A_BATCH, len(written), TAGS_A_BATCH):
            self.client.log_batch(child.id, tags=written[start : start + TAGS_A_BATCH])
        if values or tags or new:
            self.client.log_batch(child.id, metrics=values, params=params(new), tags=written[:TAGS_A_BATCH])
        child.tags.update({key: tag_text(value) for key, value in tags.items()})
        child.params.update(new)


def _without_gap(last: int, records: Sequence[EpochRecord]) -> int:
    """The epoch up to which all are logged, with these; the first may be 0 or 1.

    A driver that was killed may have logged fewer than its runs have saved: what they report to the next begins later.
    """
    for record in records:
        last = max(last, record.epoch) if record.epoch <= max(last, 0) + 1 else last
    return last


def _data_mark(storage: Storage) -> tuple[str, str] | None:
    """Name and digest of the images that the study began with; None before it."""
    try:
        mark = json.loads(storage.read_bytes(DATASET_FILE))
        return str(mark["dataset"]), str(mark["sha256"])[:LONGEST_DIGEST]
    except (MissingFile, ValueError, KeyError, TypeError):  # damaged: told where images are compared
        return None


def _refuse_damaged(store: ResultsStore) -> None:
    """What is damaged among the rows that were just read is not to be logged as if there were none."""
    if store.damaged:
        name, reason = store.damaged.popitem()
        raise DamagedFile(f"'{store.storage.path(name)}' is damaged: {reason}")


def _check_experiment(found: Any, name: str, uri: str) -> None:
    number = found.experiment_id
    if not number:
        raise StudyError(f"what answers at {uri} is no MLflow server; correct the study's mlflow")
    if found.lifecycle_stage == "deleted":
        raise StudyError(
            f"its experiment '{name}' was deleted there; restore it (`MLFLOW_TRACKING_URI='{uri}' mlflow experiments "
            f"restore --experiment-id {number}`) or remove it for good (`mlflow gc --backend-store-uri '{uri}' "
            f"--experiment-ids {number}`), and run again: all is logged then"
        )


def _score_tag(score: AlignmentRecord) -> str:
    return key_of(f"{DONE_TAG}.{score.benchmark}.{score.epoch}{protocol_suffix(score.protocol)}")
