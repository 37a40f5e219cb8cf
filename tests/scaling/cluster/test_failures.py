"""What an error or a death means for a run: one table for one worker and for many; without a Ray that runs."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError
from ray.train import TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerGroupStartupFailedError
from ray.train.v2.api.exceptions import ControllerError
from torch.distributed import DistBackendError

from scaling.cluster import distributed
from scaling.cluster.distributed import train_group
from scaling.cluster.failures import AGAIN, cause_of, describe, is_lost, is_place, origin, reason_of, record_own
from scaling.cluster.trainable import OwnProcess
from scaling.errors import DamagedFile, MissingFile, StorageError, StudyError
from scaling.records import ResultsStore, run_record
from scaling.study import expand_study

GLOO = RuntimeError(
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:1"
)
CUDA = RuntimeError("CUDA error: an illegal memory access was encountered")


def of_worker(error: Exception) -> Exception:
    """As Ray Train brings it from a worker."""
    return UserExceptionWithTraceback(error, "Traceback ...")


def of_task(error: Exception) -> Exception:
    """As Ray Core brings it from a task."""
    return RayTaskError("step", "Traceback ...", error).as_instanceof_cause()


def group(*errors: Exception) -> TrainingFailedError:
    failures = dict(enumerate(errors))
    return pickle.loads(pickle.dumps(WorkerGroupError("they failed", failures)))


CAUSES = {
    "a bug": (ZeroDivisionError("by zero"), "run"),
    "a bad value": (StudyError("no such layer"), "run"),
    "torch": (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "run"),
    "a damaged file": (DamagedFile("not what was written"), "run"),
    "GPU memory": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
    "CPU memory": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory"),
    "CUDA": (CUDA, "device"),
    "cuBLAS": (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling ..."), "device"),
    "a full disk": (OSError(28, "No space left on device"), "place"),
    "a store": (StorageError("s3://... cannot be written"), "place"),
    "gloo": (GLOO, "peer"),
    "NCCL": (DistBackendError("NCCL error in: ..., remote process exited"), "peer"),
    "a dead actor": (ActorDiedError(), "death"),
    "a dead node": (NodeDiedError("it is gone"), "death"),
    "by a task": (of_task(ZeroDivisionError("by zero")), "run"),
    "CUDA by a task": (of_task(CUDA), "device"),
    "a group's bug": (group(of_worker(ZeroDivisionError("by zero")), of_worker(GLOO)), "run"),
    "a group's bug, by a task": (of_task(group(of_worker(GLOO), of_worker(ZeroDivisionError()))), "run"),
    "a group's death": (group(of_worker(GLOO), ActorDiedError()), "death"),
    "a death and what followed": (group(ActorDiedError(), of_worker(RuntimeError("odd"))), "death"),
    "a group's memory": (group(of_worker(GLOO), of_worker(torch.OutOfMemoryError("CUDA out of memory"))), "memory"),
    "a group's device": (group(of_worker(CUDA), of_worker(GLOO)), "device"),
    "a peer's death not seen yet": (group(of_worker(GLOO)), "peer"),
    "no start": (ControllerError(WorkerGroupStartupFailedError("no actor")), "death"),
    "a controller's bug": (ControllerError(TypeError("no")), "run"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_every_error_has_a_cause(case):
    error, cause = CAUSES[case]
    assert cause_of(error) == cause


def test_only_what_a_new_process_may_not_meet_again_is_started_again():
    assert {"run", "memory"}.isdisjoint(AGAIN)
    assert {cause for _, cause in CAUSES.values()} - AGAIN == {"run", "memory"}


def test_reasons_are_one_line_and_name_the_error_that_began_it():
    assert reason_of(group(of_worker(GLOO), of_worker(ZeroDivisionError("by\nzero")))) == "ZeroDivisionError: by zero"
    assert reason_of(of_task(StudyError("no such layer"))) == "no such layer"
    assert "\n" not in reason_of(ActorDiedError())
    with pytest.raises(ValueError, match="two") as raised:
        raise ValueError("two\nlines")
    assert describe(raised.value).startswith("ValueError: two lines (test_failures.py:")


def test_only_a_place_is_tried_again_and_only_a_lost_file_is_lost():
    errors = [OSError("no"), StorageError("no"), DamagedFile("no"), MissingFile("no"), StudyError("no"), KeyError("no")]
    assert [is_place(error) for error in errors] == [True, True, False, False, False, False]
    assert [is_lost(origin(of_task(error))) for error in errors] == [False, False, True, True, False, False]


@pytest.fixture
def trainable(make_run, storage):
    """A run in a process of its own, without Tune, whose epochs raise what it is given."""

    def start(error: Exception) -> OwnProcess:
        made = OwnProcess.__new__(OwnProcess)
        made.run, made.storage_uri = make_run(), storage.uri

        def epochs():
            raise error
            yield

        made.epochs = epochs()
        return made

    return start


@pytest.mark.parametrize("case", ["a bug", "a bad value", "CUDA", "a full disk", "gloo"])
def test_one_worker_records_its_own_errors_and_lets_others_end_the_process(trainable, storage, case):
    error, cause = CAUSES[case]
    made = trainable(error)
    if cause in AGAIN:
        with pytest.raises(type(error)):
            made.step()
        assert ResultsStore(storage).read_runs() == {}
        return
    assert made.step()["done"]
    (record,) = ResultsStore(storage).read_runs().values()
    assert (record.status, str(error) in record.reason, record.ended_at is not None) == ("failed", True, True)


OF_GROUPS = [case for case, (error, _) in CAUSES.items() if isinstance(error, TrainingFailedError)]


@pytest.mark.parametrize("case", OF_GROUPS)
def test_many_workers_end_by_the_same_table(make_run, storage, monkeypatch, case):
    error, cause = CAUSES[case]

    class Trainer:
        def fit(self) -> None:
            raise error

    monkeypatch.setattr("scaling.cluster.distributed._trainer", lambda *args: Trainer())
    run = make_run()
    if cause in AGAIN:
        with pytest.raises(TrainingFailedError):
            train_group(run, None, storage, [])
    else:
        train_group(run, None, storage, [])
    recorded = ResultsStore(storage).read_run(run.run_id)
    assert (recorded is not None) == (case == "a controller's bug"), "a worker's error is recorded by the worker"


def test_memory_that_ran_out_keeps_the_record_of_training_or_gets_one(make_study, storage):
    store, error = ResultsStore(storage), torch.OutOfMemoryError("CUDA out of memory")
    (before,), (run,) = (expand_study(make_study(resources=r)) for r in ({}, {"micro_batch": 5}))
    store.write_run(run_record(before, "out_of_memory", "needs 9 GiB of 8"))
    assert record_own(store, run, error)
    assert "CUDA out of memory" in store.read_run(run.run_id).reason, "that was of other resources"
    store.write_run(run_record(run, "out_of_memory", "needs 9 GiB of 8"))
    assert record_own(store, run, error)
    record = store.read_run(run.run_id)
    assert (record.status, record.reason) == ("out_of_memory", "needs 9 GiB of 8")


@pytest.mark.parametrize(("workers", "restarts"), [(2, 0), ([2, 4], 5)])
def test_what_fails_is_counted_once(make_run, storage, monkeypatch, workers, restarts):
    """Ray Train restarts nothing, so that Tune alone counts; of elastic groups it counts alone."""
    import ray.train.torch

    made = {}
    run = make_run(resources={"workers": workers})
    made_trainer = SimpleNamespace(fit=lambda: None)
    monkeypatch.setattr(ray.train.torch, "TorchTrainer", lambda loop, **words: made.update(words) or made_trainer)
    distributed.train_group(run, None, storage, [], max_failures=5)
    failures = made["run_config"].failure_config
    assert (failures.max_failures, failures.controller_failure_limit) == (restarts, -1 if restarts else 0)
    assert made["scaling_config"].num_workers == run.resources.workers


def test_what_an_elastic_group_gives_up_is_over(make_run, storage, monkeypatch):
    def fit():
        raise ActorDiedError()

    monkeypatch.setattr("scaling.cluster.distributed._trainer", lambda *args: SimpleNamespace(fit=fit))
    run = make_run(resources={"workers": [2, 4]})
    train_group(run, None, storage, [], max_failures=2)
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.status, "given up after 3 starts" in record.reason) == ("failed", True)
