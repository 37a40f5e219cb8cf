"""One study in MLflow: a parent run, a child a run; what is there already is not logged again."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import DamagedFile, StudyError
from scaling.layout import MLFLOW_ARTIFACTS
from scaling.mlflow_store import SQLITE, key_of, tracking_uri
from scaling.place import scrub, shown
from scaling.protocol_text import protocol_digest, protocol_suffix
from scaling.records import AlignmentRecord, EpochRecord, ResultsStore, RunRecord
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.specs.tune import TuneSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENDINGS = {"finished": "FINISHED", "cut": "KILLED"}  # MLflow's words; a cut probe was stopped, and did not fail
METRICS_A_BATCH = 1000  # MLflow's own limit for log_batch
RUNS_A_PAGE = 1000
RUN_TAG, KIND_TAG, DONE_TAG = "scaling.run_id", "scaling.kind", "scaling.logged"
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own
PROTOCOL_TAG = "scaling.protocol"  # followed by a digest: the protocol that scores with this digest in their name have
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's view for training runs
LONGEST_TAG, LONGEST_PARAM = 5000, 6000  # characters that MLflow takes of a value


@dataclass(frozen=True)
class RunNote:
    """What is to stand at a run beside its record and scores."""

    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class StudyLog:
    """One study's runs in MLflow; every call may be repeated and adds only what is missing."""

    def __init__(self, client: MlflowClient, study: StudySpec, storage: Storage) -> None:
        self.client, self.study = client, study
        self.store = ResultsStore(storage)
        self.experiment_id = self._experiment(storage)
        there = self._existing()
        self.parent_id = there.get(("study", study.name), ("", {}))[0] or self._create_parent()
        self.children = {name: child for (kind, name), child in there.items() if kind == "run"}
        self._adopt()

    def log_run(self, record: RunRecord) -> None:
        """Everything about a run that ended: parameters, metrics by epoch, its throughput as `run_…`, status."""
        child, tags = self._child(record)
        if tags.get(DONE_TAG) == record.status:
            return
        self._log_params(child, record)
        epochs = self.store.read_epochs(record.run_id)
        _refuse_damaged(self.store)
        self._log_metrics(child, _epoch_metrics(epochs))
        facts = {"n_params": record.n_params, "n_samples": record.n_samples, "flops": record.flops}
        facts |= {"flops_spent": record.flops_spent, "train_s": record.train_s, "n_skipped": record.n_skipped}
        facts |= {f"run_{name}": getattr(record, name) for name in ("images_per_s", "flops_per_s", "compute_share")}
        self._log_metrics(child, _metrics(facts, step=record.epochs_done))
        if record.reason:
            self._tag(child, tags, "reason", record.reason)
        elif tags.pop("reason", None):  # of an earlier try
            self.client.delete_tag(child, "reason")
        self.client.set_terminated(child, ENDINGS.get(record.status, "FAILED"))
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
        self._log_metrics(child, _metrics({f"score.{name}": score.score, f"raw.{name}": score.raw}, score.epoch))
        protocol_tag = f"{PROTOCOL_TAG}.{protocol_digest(score.protocol)}"
        if protocol_suffix(score.protocol) and protocol_tag not in tags:
            self._tag(child, tags, protocol_tag, score.protocol)
        self._tag(child, tags, _score_tag(score), str(score.layer))

    def _tell_apart(self, child: str, tags: dict[str, str], there: Sequence[AlignmentRecord]) -> None:
        """A tag of versions before, which named no protocol, stands for the default's score, else for those there."""
        former = key_of(f"{DONE_TAG}.{there[0].benchmark}.{there[0].epoch}")
        if former in tags and all(protocol_suffix(score.protocol) for score in there):
            for score in there:
                self._tag(child, tags, _score_tag(score), str(score.layer))
            self.client.delete_tag(child, former)
            del tags[former]

    def log_note(self, record: RunRecord, note: RunNote) -> None:
        """Metrics and tags that no record holds, each once; what has changed is logged beside what was there."""
        child, tags = self._child(record)
        there = self.client.get_run(child).data.metrics
        new = {name: value for name, value in note.metrics.items() if there.get(key_of(name)) != value}
        self._log_metrics(child, _metrics(new, record.epochs_done))
        for key, value in note.tags.items():
            if tags.get(key) != value:
                self._tag(child, tags, key, value)

    def log_artifact(self, path: Path) -> None:
        """A figure or a recipe, at the study's parent run."""
        self.client.log_artifact(self.parent_id, str(path))

    def end(self, status: str) -> None:
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

    def _adopt(self) -> None:
        """Children of a parent that was deleted are those of the new one."""
        for child, tags in self.children.values():
            if tags.get(PARENT_TAG) != self.parent_id:
                self._tag(child, tags, PARENT_TAG, self.parent_id)

    def _create_parent(self) -> str:
        """The study's own run, with what its runs have in common."""
        parent = self._create(self.study.name, "study", self.study.name)
        fields = {"dataset", "data_sizes", "epochs", "budgets", "horizons", "seeds", "objective", "benchmarks"}
        written = self.study.model_dump(mode="json", include=fields)
        shown = {name: value for name, value in written.items() if value}
        families = {f"models.{family.family}": list(family.sizes) for family in self.study.models}
        params = [_param(key, value) for key, value in (shown | families).items()]
        self.client.log_batch(parent, params=params)
        return parent

    def _tag(self, child: str, tags: dict[str, str], key: str, value: str) -> None:
        self.client.set_tag(child, key, scrub(value)[:LONGEST_TAG])
        tags[key] = value

    def _create(self, run_name: str, kind: str, name: str, parent: str | None = None) -> str:
        tags = {RUN_TAG: name, KIND_TAG: kind}
        if parent is not None:
            tags[PARENT_TAG] = parent
        return str(self.client.create_run(self.experiment_id, run_name=run_name, tags=tags).info.run_id)

    def _child(self, record: RunRecord) -> tuple[str, dict[str, str]]:
        """MLflow's run of a record, made if it is not there, and its tags."""
        if record.run_id not in self.children:
            images = "all" if record.images_per_class is None else record.images_per_class
            model = RunSpec.model_validate_json(record.spec).model
            name = f"{model.label()} {images}/class seed {record.seed}"
            self.children[record.run_id] = (
                self._create(name, "run", record.run_id, self.parent_id),
                {},
            )
        return self.children[record.run_id]

    def _log_params(self, child: str, record: RunRecord) -> None:
        """What is known and not there yet: MLflow refuses to change a parameter, and a retry knows more than a failure.

        The spec of a run that was given up is not logged: the next try may have other resources.
        """
        columns = ("family", "size", "depth", "variant", "dataset", "image_size", "seed", "objective", "epochs")
        values = {column: getattr(record, column) for column in columns}
        values |= {"run_id": record.run_id, "images_per_class": record.images_per_class or "all"}
        if record.status in ("finished", "diverged", "cut"):
            values["spec"] = record.spec
        if self.study.tune is not None:
            values |= _tuned(record, self.study.tune)
        there = self.client.get_run(child).data.params
        new = [_param(key, value) for key, value in values.items() if value is not None and key not in there]
        if new:
            self.client.log_batch(child, params=new)

    def _log_metrics(self, child: str, metrics: list[Any]) -> None:
        for start in range(0, len(metrics), METRICS_A_BATCH):
            self.client.log_batch(child, metrics=metrics[start : start + METRICS_A_BATCH])


def _tuned(record: RunRecord, tune: TuneSpec) -> dict[str, float]:
    """The tuned fields of a run, as parameters of their own."""
    training = RunSpec.model_validate_json(record.spec).training
    return {name: getattr(training, name) for name in tune.fields}


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


def _param(key: str, value: Any) -> Any:
    """A parameter, without the credentials of a place that it may hold."""
    from mlflow.entities import Param

    return Param(key, scrub(str(value))[:LONGEST_PARAM])


def _metrics(values: Mapping[str, float | int | None], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    return [Metric(key_of(key), float(value), now_ms, step) for key, value in values.items() if value is not None]


def _epoch_metrics(records: Sequence[EpochRecord]) -> list[Any]:
    return [
        metric
        for record in records
        for metric in _metrics(
            {
                "loss": record.loss,
                "lr": record.lr,
                "accuracy": record.accuracy,
                "validation_loss": record.validation_loss,
                "samples_seen": record.samples_seen,
                "train_flops": record.flops,
                "images_per_s": record.images_per_s,
                "compute_share": record.compute_share,
            },
            record.epoch,
        )
    ]
