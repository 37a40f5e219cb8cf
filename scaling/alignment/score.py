"""One checkpoint against benchmarks: its layers' activations once a stimulus set, then every benchmark on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from scaling.alignment.activations import collect_activations, prepare_images
from scaling.errors import StudyError
from scaling.models import candidate_layers
from scaling.records import AlignmentRecord, ResultsStore
from scaling.train.checkpoint import CheckpointInfo, load_weights

if TYPE_CHECKING:
    from torch import nn

    from scaling.alignment.benchmark import Benchmark
    from scaling.storage import Storage


def score_checkpoint(
    storage: Storage, run_id: str, epoch: int, benchmarks: Sequence[Benchmark], device: str = "cpu"
) -> list[AlignmentRecord]:
    """Score a run's checkpoint on the benchmarks it has no score for, and store all its scores.

    A benchmark that cannot be computed gives a record with status 'failed' and the reason. On CPUs one thread is
    used, so that a score does not depend on where it was computed and training keeps its cores.

    Raises:
        StudyError: the checkpoint is missing or damaged.
    """
    import torch

    torch.set_num_threads(1)
    store = ResultsStore(storage)
    records = [r for r in store.read_checkpoint_scores(run_id, epoch) if r.status == "scored"]
    missing = [b for b in benchmarks if b.name not in {record.benchmark for record in records}]
    if missing:
        model, info = load_weights(storage, run_id, epoch)
        with threadpool_limits(1):
            records += score_model(model.to(device), info, missing)
        store.write_scores(sorted(records, key=lambda record: record.benchmark))
    return records


def score_model(model: nn.Module, info: CheckpointInfo, benchmarks: Sequence[Benchmark]) -> list[AlignmentRecord]:
    """AlignmentRecords of one model; activations are collected once for all benchmarks on the same stimuli."""
    records = []
    for key in dict.fromkeys(benchmark.stimuli.key for benchmark in benchmarks):
        group = [benchmark for benchmark in benchmarks if benchmark.stimuli.key == key]
        features = stimulus_features(model, info, group[0])
        records += [_score_one(benchmark, features, info) for benchmark in group]
    return records


def stimulus_features(model: nn.Module, info: CheckpointInfo, benchmark: Benchmark) -> dict[str, np.ndarray]:
    """Candidate layer -> (n_stimuli, n_features) float32."""
    images = prepare_images(benchmark.stimuli.images, info.image_size, info.mean, info.std)
    return collect_activations(model, candidate_layers(info.run.model, model), images)


def _score_one(benchmark: Benchmark, features: dict[str, np.ndarray], info: CheckpointInfo) -> AlignmentRecord:
    began = time.monotonic()
    try:
        facts = benchmark(features).model_dump(exclude={"layer_scores"}) | {"status": "scored", "reason": None}
    except StudyError as error:
        facts = failed_score(benchmark, str(error))
    return AlignmentRecord.model_validate(checkpoint_facts(info) | facts | {"score_s": time.monotonic() - began})


def checkpoint_facts(info: CheckpointInfo) -> dict[str, object]:
    return {
        "run_id": info.run.run_id,
        "epoch": info.epoch,
        "samples_seen": info.samples_seen,
        "flops": info.flops,
        "accuracy": info.accuracy,
    }


def failed_score(benchmark: Benchmark, reason: str) -> dict[str, object]:
    """The columns of a score that could not be computed."""
    return {
        "benchmark": benchmark.name,
        "region": benchmark.region,
        "metric": benchmark.metric,
        "layer": None,
        "raw": None,
        "ceiling": None,
        "ceiling_kind": benchmark.ceiling_kind,
        "score": None,
        "n_stimuli": len(benchmark.stimuli),
        "n_neuroids": benchmark.n_neuroids,
        "selection_raw": None,
        "status": "failed",
        "reason": reason,
    }
