"""A run of many workers: Ray Train's TorchTrainer below a trial, see `trial`, that reserves nothing for itself."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Sequence
from typing import Any

from ray.train import UserCallback
from ray.util.queue import Empty, Queue

from scaling.cluster.failures import AGAIN, cause_of, failed_record, origin, reason_of, record_own
from scaling.cluster.notices import process_notice
from scaling.cluster.trainable import REPORT_INTERVAL_S, ray_place, report
from scaling.data.image_source import ImageSource
from scaling.layout import RAY_FOLDER
from scaling.records import ResultsStore
from scaling.specs.run import RunSpec
from scaling.storage import Storage

# A group waits for its nodes as long as it takes, as a run of one worker does; Tune counts its failures to start. An
# elastic one looks anew how many workers there are: right after a death Ray Train still counts the dead.
START_WAIT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
WAIT_S, ELASTIC_WAIT_S = 7 * 24 * 3600, 20

RESIZE_S = 30.0  # between two looks of an elastic group for more workers: a larger one begins with the resume file


class Group:
    """A run's Ray Train workers, as their trial sees them.

    The trial waits without holding a CPU, so that any number of them cannot starve the workers they wait for.

    Args:
        max_failures: how often an elastic group goes on with the workers that are left, or come back.
    """

    def __init__(self, run: RunSpec, source: ImageSource, storage_uri: str, max_failures: int) -> None:
        self.run, self.max_failures = run, max_failures
        self.error: Exception | None = None
        self.reports = Queue(actor_options={"num_cpus": 0})
        self.thread = threading.Thread(target=self._fit, args=(source, Storage(storage_uri)), daemon=True)
        self.thread.start()

    def step(self) -> dict[str, Any]:
        """The next epoch's report, or none within about a second.

        Raises:
            Exception: what other processes may not meet again, see `failures`; Tune starts the run anew.
        """
        going = self.thread.is_alive()  # asked first: what was told before its end is in the queue
        try:
            told = self.reports.get(timeout=REPORT_INTERVAL_S if going else 0)
        except Empty:
            if not going and self.error is not None:
                raise self.error from None
            return report(self.run, []) | {"done": not going}
        return told | {"done": False}

    def close(self) -> None:
        """What is left of the group ends with the trial's process, which owns it."""
        self.reports.shutdown(force=True)

    def _fit(self, source: ImageSource, storage: Storage) -> None:
        try:
            train_group(self.run, source, storage, [Tell(self.reports)], self.max_failures)
        except Exception as error:  # raised by `step`
            self.error = error


class Tell(UserCallback):
    """Hands what the first worker reports to the trial."""

    def __init__(self, reports: Queue) -> None:
        self.reports = reports

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        self.reports.put(metrics[0])


def train_group(
    run: RunSpec, source: ImageSource, storage: Storage, callbacks: Sequence[UserCallback], max_failures: int = 0
) -> None:
    """Train one run with DistributedDataParallel on `resources.workers` Ray Train workers.

    What is to be started again is Tune's to count; of an elastic group it is Ray Train's, which makes the next one of
    the workers that there are: what it gives up is over.

    Raises:
        Exception: what other processes may not meet again, see `failures`.
    """
    os.environ[START_WAIT] = str(ELASTIC_WAIT_S if run.resources.elastic else WAIT_S)
    try:
        _trainer(run, source, storage, callbacks, max_failures if run.resources.elastic else 0).fit()
    except Exception as error:  # of Ray Train's or of the workers
        cause = cause_of(error)
        if cause in AGAIN and run.resources.elastic:
            reason = f"{reason_of(error)} (given up after {max_failures + 1} starts)"
            ResultsStore(storage).write_run(failed_record(run, reason))
        elif cause in AGAIN:
            raise
        elif cause == "run" and not hasattr(origin(error), "worker_failures"):  # no worker lived to record it
            ResultsStore(storage).write_run(failed_record(run, reason_of(error)))


def _trainer(
    run: RunSpec, source: ImageSource, storage: Storage, callbacks: Sequence[UserCallback], max_failures: int
) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = run.resources
    gpus = {"GPU": resources.gpus} if resources.gpus else {}
    return TorchTrainer(
        train_distributed,
        train_loop_config={"run": run.model_dump(mode="json"), "source": source, "storage_uri": storage.uri},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            elastic_resize_monitor_interval_s=RESIZE_S,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus_per_worker} | gpus,
        ),
        # A new name each time: the run's own resume file says where to go on, not Ray Train's folder of that name.
        run_config=RunConfig(
            name=f"{run.run_id}-{uuid.uuid4().hex[:8]}",
            **ray_place(storage.child(RAY_FOLDER)),
            failure_config=FailureConfig(
                max_failures=max_failures, controller_failure_limit=-1 if resources.elastic else 0
            ),
            callbacks=list(callbacks),
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
        notice=process_notice(),
    )
    try:
        for record in train_run(run, config["source"].open(), storage, worker):
            ray.train.report(report(run, [record]), checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC)
    except Exception as error:
        record_own(ResultsStore(storage), run, error)
        raise
