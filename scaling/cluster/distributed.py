"""What Ray runs for a run of many workers: a launcher, which Tune counts, and Ray Train's TorchTrainer below it."""

from __future__ import annotations

import os
import uuid
from typing import Any

from scaling.cluster.failures import AGAIN, cause_of, failed_record, origin, reason_of, record_own
from scaling.cluster.trainable import ray_place, report
from scaling.data.image_source import ImageSource
from scaling.layout import RAY_FOLDER
from scaling.records import ResultsStore
from scaling.specs.run import RunSpec
from scaling.storage import Storage

# A group waits for its nodes as long as it takes, as a run of one worker does; Tune counts its failures to start.
START_WAIT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 24 * 3600)}


def launch_distributed(config: dict[str, Any], source: ImageSource, storage_uri: str) -> None:
    """A Tune function that trains one run with DistributedDataParallel on `resources.workers` Ray Train workers.

    It waits without holding a CPU, so that any number of launchers cannot starve the workers they wait for.

    Raises:
        Exception: what other processes may not meet again, see `failures`; Tune starts the run anew.
    """
    run = RunSpec.model_validate(config["run"])
    storage = Storage(storage_uri)
    os.environ |= START_WAIT
    try:
        _trainer(run, config["run"], source, storage).fit()
    except Exception as error:  # of Ray Train's or of the workers
        cause = cause_of(error)
        if cause in AGAIN:
            raise
        if cause == "run" and not hasattr(origin(error), "worker_failures"):  # no worker lived to record it
            ResultsStore(storage).write_run(failed_record(run, reason_of(error)))


def _trainer(run: RunSpec, config: dict[str, Any], source: ImageSource, storage: Storage) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources = run.resources
    gpus = {"GPU": resources.gpus} if resources.gpus else {}
    return TorchTrainer(
        train_distributed,
        train_loop_config={"run": config, "source": source, "storage_uri": storage.uri},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus_per_worker} | gpus,
        ),
        # A new name each time: the run's own resume file says where to go on, not Ray Train's folder of that name.
        run_config=RunConfig(
            name=f"{run.run_id}-{uuid.uuid4().hex[:8]}",
            **ray_place(storage.child(RAY_FOLDER)),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            callbacks=[TuneReportCallback()],
        ),
    )


def train_distributed(config: dict[str, Any]) -> None:
    """One Ray Train worker's part of a run. An error of the run itself is recorded here, where it happened.

    Raises:
        Exception: whatever it is: Ray Train ends the other workers, which wait for this one.
    """
    import ray.train
    from ray.train.torch import get_device

    from scaling.train.distributed.worker import Worker
    from scaling.train.loop import train_run

    run = RunSpec.model_validate(config["run"])
    storage, context = Storage(config["storage_uri"]), ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=str(get_device()),
        threads=run.resources.threads,
    )
    try:
        for record in train_run(run, config["source"].open(), storage, worker):
            ray.train.report(report(run, [record]), checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC)
    except Exception as error:
        record_own(ResultsStore(storage), run, error)
        raise
