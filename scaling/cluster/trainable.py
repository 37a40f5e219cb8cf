"""A run of one worker, trained in the process of its trial, see `trial`; and what any trial tells the driver.

The driver imports this module to name what runs; torch is imported where it runs, so that the driver starts fast.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scaling.cluster.failures import record_own
from scaling.cluster.notices import process_notice
from scaling.data.image_source import ImageSource
from scaling.records import EpochRecord, ResultsStore
from scaling.specs.run import RunSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from scaling.train.distributed.worker import Worker

REPORT_INTERVAL_S = 1.0  # short epochs are reported together: the driver's share of a small run stays small


class OwnProcess:
    """Trains a run here. The images are mapped from the node's disk without a copy."""

    def __init__(self, run: RunSpec, source: ImageSource, storage_uri: str) -> None:
        self.run, self.storage_uri = run, storage_uri
        self.epochs = self._train(source)

    def step(self) -> dict[str, Any]:
        """Advance by about a second of epochs, or to the next epoch that is to be scored.

        A run that raises is recorded as failed, with the reason, and the process goes on to the next run.

        Raises:
            Exception: what a new process may not meet again, see `failures`; Tune ends this one.
        """
        deadline = time.monotonic() + REPORT_INTERVAL_S
        records: list[EpochRecord] = []
        try:
            for record in self.epochs:
                records.append(record)
                if self._reports(record, deadline):
                    return report(self.run, records) | {"done": False}
        except Exception as error:  # whatever it is, it ends this run alone and stands in its record
            if not record_own(ResultsStore(Storage(self.storage_uri)), self.run, error):
                raise
        return report(self.run, records) | {"done": True}

    def close(self) -> None:
        """The process stays warm for the next run, which makes its model, optimizer and random state anew."""
        self.epochs = iter(())  # what the run holds goes with it

    def _reports(self, record: EpochRecord, deadline: float) -> bool:
        """A probe is judged after every epoch; with its last one it ends, so that its record is there."""
        if self.run.validation:
            return record.epoch < self.run.training.epochs
        return time.monotonic() > deadline or record.epoch in self.run.score_epochs

    def _train(self, source: ImageSource) -> Iterator[EpochRecord]:
        from scaling.train.loop import train_run
        from scaling.train.memory import release_memory

        release_memory()  # of the run before
        yield from train_run(self.run, source.open(), Storage(self.storage_uri), local_worker(self.run))


def local_worker(run: RunSpec) -> Worker:
    from scaling.train.distributed.worker import Worker

    device = "cuda" if run.resources.gpus else "cpu"
    return Worker(device=device, threads=run.resources.threads, notice=process_notice())


def report(run: RunSpec, records: list[EpochRecord]) -> dict[str, Any]:
    """What a worker tells the driver: the run and the epochs done since the last report; of a probe, how the last was.

    Probes of several workers are not judged on their way: their group is not stopped for it.
    """
    told: dict[str, Any] = {"run_id": run.run_id, "epochs": [record.model_dump() for record in records]}
    loss = records[-1].validation_loss if records and run.resources.most_workers == 1 else None
    if loss is not None and math.isfinite(loss):
        told |= {"epoch": records[-1].epoch, "validation_loss": loss}
    return told


def ray_place(storage: Storage) -> dict[str, Any]:
    """A place as Ray's RunConfig takes it: a URI's options stay with the file system, where Ray would lose them."""
    return {"storage_path": storage.path(), "storage_filesystem": None if storage.is_local else storage.filesystem}
