"""What is logged of a run, in MLflow's own words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling.records import EpochRecord


@dataclass(frozen=True)
class RunNote:
    """What is to stand at a run in MLflow beside its record and scores."""

    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def metrics(values: Mapping[str, float | int | None], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    return [Metric(key, float(value), now_ms, step) for key, value in values.items() if value is not None]


def epoch_metrics(records: Sequence[EpochRecord]) -> list[Any]:
    return [
        metric
        for record in records
        for metric in metrics(
            {
                "loss": record.loss,
                "lr": record.lr,
                "accuracy": record.accuracy,
                "samples_seen": record.samples_seen,
                "train_flops": record.flops,
                "images_per_s": record.images_per_s,
                "compute_share": record.compute_share,
            },
            record.epoch,
        )
    ]
