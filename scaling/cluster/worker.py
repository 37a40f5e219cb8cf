"""What Ray runs: one-worker runs in reused Tune actors, many-worker runs by Ray Train's TorchTrainer.

The driver imports this module to name what runs; torch is imported where it runs, so that the driver starts fast.
"""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray import tune

from scaling.data.image_source import ImageSource
from scaling.records import EpochRecord, ResultsStore, run_record
from scaling.specs.run import RunSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from scaling.train.distributed.worker import Worker

RAY_FOLDER = "ray"  # Ray's own files in the study's folder, gone when the runs are
REPORT_INTERVAL_S = 1.0  # short epochs are reported together: the driver's share of a small run stays small


class RunTrainable(tune.Trainable):
    """Trains one-worker runs one after another in the same process.

    The images are mapped from the node's disk without a copy. Imports stay warm between runs; models, optimizers
    and random state are made anew for each.
    """

    def setup(self, config: dict[str, Any], source: ImageSource, storage_uri: str) -> None:
        self.source = source
        self.study_storage = Storage(storage_uri)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Advance by about a second of epochs, or to the next epoch that is to be scored.

        A run that raises is recorded as failed, with the reason; the process goes on to the next run.
        """
        deadline = time.monotonic() + REPORT_INTERVAL_S
        records: list[EpochRecord] = []
        try:
            for record in self.run_epochs:
                records.append(record)
                if time.monotonic() > deadline or record.epoch in self.run_spec.score_epochs:
                    return report(self.run_spec, records) | {"done": False}
        except Exception as error:  # whatever it is, it ends this run alone and stands in its record
            ResultsStore(self.study_storage).write_run(run_record(self.run_spec, "failed", describe(error)))
        return report(self.run_spec, records) | {"done": True}

    def _begin(self, config: dict[str, Any]) -> None:
        self.run_spec = RunSpec.model_validate(config["run"])
        self.run_epochs = self._train()

    def _train(self) -> Iterator[EpochRecord]:
        from scaling.train.loop import train_run

        yield from train_run(self.run_spec, self.source.open(), self.study_storage, local_worker(self.run_spec))


def describe(error: BaseException) -> str:
    """An exception's type, message and the place that raised it, on one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message} ({place.filename.rsplit('/', 1)[-1]}:{place.lineno})"


def local_worker(run: RunSpec) -> Worker:
    from scaling.train.distributed.worker import Worker

    device = "cuda" if run.resources.gpus_per_worker else "cpu"
    return Worker(device=device, threads=run.resources.cpus_per_worker)


def launch_distributed(config: dict[str, Any], source: ImageSource, storage_uri: str) -> None:
    """A Tune function that trains one run with DistributedDataParallel on `resources.workers` Ray Train workers.

    It waits without holding a CPU, so that any number of launchers cannot starve the workers they wait for.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    run = RunSpec.model_validate(config["run"])
    resources = run.resources
    TorchTrainer(
        train_distributed,
        train_loop_config={"run": config["run"], "source": source, "storage_uri": storage_uri},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={"CPU": resources.cpus_per_worker}
            | ({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}),
        ),
        # A new name each time: the run's own resume file says where to go on, not Ray Train's folder of that name.
        run_config=RunConfig(
            name=f"{run.run_id}-{uuid.uuid4().hex[:8]}",
            storage_path=ray_path(Storage(storage_uri).child(RAY_FOLDER)),
            failure_config=FailureConfig(max_failures=config["max_failures"]),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def train_distributed(config: dict[str, Any]) -> None:
    """One Ray Train worker's part of a run."""
    import ray.train
    from ray.train.torch import get_device

    from scaling.train.distributed.worker import Worker
    from scaling.train.loop import train_run

    run = RunSpec.model_validate(config["run"])
    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=str(get_device()),
        threads=run.resources.cpus_per_worker,
    )
    for record in train_run(run, config["source"].open(), Storage(config["storage_uri"]), worker):
        ray.train.report(report(run, [record]), checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC)


def report(run: RunSpec, records: list[EpochRecord]) -> dict[str, Any]:
    """What a worker tells the driver: the run and the epochs done since the last report."""
    return {"run_id": run.run_id, "epochs": [record.model_dump() for record in records]}


def ray_path(storage: Storage) -> str:
    """A place as Ray names it: a plain path on a local disk, else the URI."""
    return storage.root if storage.is_local else storage.uri
