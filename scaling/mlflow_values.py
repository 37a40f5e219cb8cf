"""What records are in MLflow's terms: metrics with the training's own times, parameters, tags, data sets."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scaling.mlflow_store import key_of
from scaling.place import scrub
from scaling.protocol_text import protocol_digest, protocol_suffix
from scaling.records import AlignmentRecord, EpochRecord, RunRecord
from scaling.specs.run import RunSpec
from scaling.specs.tune import TuneSpec

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

LONGEST_TAG, LONGEST_PARAM = 5000, 6000  # characters that MLflow takes of a value
LONGEST_DIGEST = 36  # of a data set
SIMULATED = "simulated"
SYSTEM = {
    "cpu": "cpu_utilization_percentage", "memory": "system_memory_usage_percentage",
    "gpu": "gpu_0_utilization_percentage", "gpu_memory": "gpu_0_memory_usage_percentage",
}  # fmt: skip
COLUMNS = ("family", "size", "depth", "variant", "dataset", "image_size", "seed", "objective", "epochs")
ENDED = ("n_params", "n_samples", "flops", "flops_spent", "train_s", "n_skipped")
THROUGHPUT = ("images_per_s", "flops_per_s", "compute_share")  # of a run: as `run_…`, beside those of its epochs


def ms(at: float | None) -> int:
    """Unix seconds as MLflow's milliseconds; now where they are not known."""
    return int((time.time() if at is None else at) * 1000)


def metrics(values: Mapping[str, float | int | None], step: int, at: float | None, **of: Any) -> list[Metric]:
    """What is known of some values. of: a model's id, a data set's name and digest."""
    from mlflow.entities import Metric

    known = {key: float(value) for key, value in values.items() if value is not None}
    return [Metric(key_of(key), value, ms(at), step, **of) for key, value in known.items()]


def epoch_times(records: Sequence[EpochRecord], ended_at: float | None) -> dict[int, float | None]:
    """Epoch -> when it ended.

    ended_at: of the run; records of versions that did not note the time are counted back from it.
    """
    found = {}
    for record in reversed(records):
        at = found[record.epoch] = record.ended_at or ended_at
        ended_at = None if at is None else at - record.epoch_s
    return found


def epoch_metrics(records: Sequence[EpochRecord], times: Mapping[int, float | None]) -> list[Metric]:
    """Of the epochs of a run, each at its time."""
    found = []
    for record in records:
        values = {
            "loss": record.loss, "lr": record.lr, "accuracy": record.accuracy, "samples_seen": record.samples_seen,
            "validation_loss": record.validation_loss, "train_flops": record.flops,
            "images_per_s": record.images_per_s, "compute_share": record.compute_share,
        }  # fmt: skip
        values |= system_metrics(record)
        found += metrics(values, record.epoch, times.get(record.epoch))
    return found


def system_metrics(record: EpochRecord) -> dict[str, float]:
    """What was in use of the node, in percent, by MLflow's own names, which its UI shows under "System metrics"."""
    return {f"system/{SYSTEM[name]}": 100 * share for name, share in json.loads(record.node_use or "{}").items()}


def started_at(first: EpochRecord) -> float | None:
    """When the training began whose first epoch this is."""
    return None if first.ended_at is None else first.ended_at - first.epoch_s


def ended_metrics(record: RunRecord) -> list[Metric]:
    """What is known of a run once it has ended."""
    values = {name: getattr(record, name) for name in ENDED}
    values |= {f"run_{name}": getattr(record, name) for name in THROUGHPUT}
    return metrics(values, record.epochs_done, record.ended_at)


def score_metrics(score: AlignmentRecord) -> dict[str, float | None]:
    """`score.<benchmark>` by the default protocol, `score.<benchmark>/<digest>` by another; `raw.…` likewise."""
    name = f"{score.benchmark}{protocol_suffix(score.protocol)}"
    return {f"score.{name}": score.score, f"raw.{name}": score.raw}


def region_metrics(own: Sequence[AlignmentRecord]) -> dict[str, float]:
    """Region -> mean score of a checkpoint over the study's benchmarks of it, where it has all of them.

    Simulated brains stand apart, as `simulated IT`, where a study has others of that region too.
    """
    found: defaultdict[tuple[str, bool], list[float | None]] = defaultdict(list)
    for score in own:
        found[score.region, SIMULATED in score.benchmark.lower()].append(score.score)
    named = {
        f"{SIMULATED} {region}" if simulated and (region, False) in found else region: scores
        for (region, simulated), scores in found.items()
    }
    whole = {name: [score for score in scores if score is not None] for name, scores in named.items()}
    return {name: sum(scores) / len(scores) for name, scores in whole.items() if len(scores) == len(named[name])}


def run_params(run: RunSpec, record: RunRecord | None, tune: TuneSpec | None) -> dict[str, Any]:
    """What tells a run from the others; more once it has ended.

    The spec of a run that was given up is left out: the next try may have other resources.
    """
    from scaling.records import run_record

    known = record or run_record(run, "failed", None)
    values = {name: getattr(known, name) for name in COLUMNS}
    values |= {"images_per_class": run.images_per_class or "all"}
    if record is not None and record.status in ("finished", "diverged", "cut"):
        values["spec"] = record.spec
    if tune is not None:
        values |= {name: getattr(run.training, name) for name in tune.fields}
    return {key: value for key, value in values.items() if value is not None}


def filter_tags(run: RunSpec) -> dict[str, str]:
    """What the UI's filters ask for: tags.family = 'resnet', tags.size = '8', tags.probe = 'true'."""
    probe = "true" if run.validation else "false"
    return {"family": run.model.family_name, "size": str(run.model.size), "probe": probe}


def params(values: Mapping[str, Any]) -> list[Param]:
    """Without the credentials of a place that a value may hold."""
    from mlflow.entities import Param

    return [Param(key, scrub(str(value))[:LONGEST_PARAM]) for key, value in values.items()]


def run_tags(values: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(key, tag_text(value)) for key, value in values.items()]


def tag_text(value: str) -> str:
    return scrub(value)[:LONGEST_TAG]


def data_inputs(data: tuple[str, str] | None, benchmarks: Sequence[str], protocol: str) -> list[DatasetInput]:
    """The images that a study's runs are trained on, by name and digest, and the benchmarks that they are scored on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def entry(name: str, digest: str, kind: str, context: str) -> DatasetInput:
        return DatasetInput(Dataset(name, digest, kind, name), [InputTag("mlflow.data.context", context)])

    trained = [] if data is None else [entry(*data, "images", "training")]
    return trained + [entry(name, protocol_digest(protocol), "benchmark", "evaluation") for name in benchmarks]
