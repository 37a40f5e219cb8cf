"""Ray Tune schedules a study's runs: longest first, one Tuner a resource shape, results to a listener."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from scaling.data.image_source import ImageSource
from scaling.records import EpochRecord
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

# Read when ray.tune is imported: the store keeps results, the listener shows progress.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

from ray import tune

from scaling.cluster.worker import RAY_FOLDER, RunTrainable, launch_distributed, ray_path

HEAD = "node:__internal_head__"  # a resource that every Ray head has, 1.0: launchers run there and need no CPU
LAUNCHER_SHARE = 0.001


class Listener(Protocol):
    """Hears of every run, on the driver."""

    def on_start(self, run: RunSpec) -> None: ...

    def on_epochs(self, run: RunSpec, records: Sequence[EpochRecord]) -> None: ...

    def on_end(self, run: RunSpec, error: str | None) -> None: ...

    def on_tick(self) -> None:
        """Called a few times a second while runs go on."""


def train_runs(
    runs: Sequence[RunSpec],
    source: ImageSource,
    storage: Storage,
    listener: Listener,
    slots: Callable[[ResourceSpec], int],
    cost: Mapping[str, float],
    max_failures: int = 2,
) -> None:
    """Train all runs on the connected cluster; the workers write the records.

    Runs of one resource shape share a Tuner, and the shapes follow each other: actors are reused only between
    equal shapes, and gangs of different sizes never wait for each other's parts.

    Args:
        source: of the images; every process opens it for itself.
        slots: how many runs of a resource shape may go on at once.
        cost: run_id -> expected time, in any unit: the longest run starts first, so that none is left over alone.
        max_failures: how often a run is started again after its process died.
    """
    storage.delete_folder(RAY_FOLDER)  # what an earlier, killed driver left: nothing there is read again
    shapes = sorted({run.resources for run in runs}, key=lambda shape: shape.model_dump_json())
    for shape in shapes:
        group = sorted((run for run in runs if run.resources == shape), key=lambda run: cost[run.run_id], reverse=True)
        _tune(group, shape, source, storage, listener, slots(shape), max_failures)
    storage.delete_folder(RAY_FOLDER)


def concurrency(shape: ResourceSpec, capacity: Mapping[str, float]) -> int:
    """How many runs of a shape fit the CPUs and GPUs that training may use; at least 1."""
    fits = [capacity.get("CPU", 0) / (shape.workers * shape.cpus_per_worker)]
    if shape.gpus_per_worker:
        fits.append(capacity.get("GPU", 0) / (shape.workers * shape.gpus_per_worker))
    return max(1, int(min(fits)))


def _tune(
    runs: Sequence[RunSpec],
    shape: ResourceSpec,
    source: ImageSource,
    storage: Storage,
    listener: Listener,
    n_slots: int,
    max_failures: int,
) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told by the listener
    in_process = shape.workers == 1
    trainable = tune.with_resources(
        tune.with_parameters(
            RunTrainable if in_process else launch_distributed, source=source, storage_uri=storage.uri
        ),
        _placement(shape),
    )
    tune.Tuner(
        trainable,
        param_space={
            "run": tune.grid_search([run.model_dump(mode="json") for run in runs]),
            "max_failures": max_failures,
        },
        tune_config=tune.TuneConfig(reuse_actors=in_process, max_concurrent_trials=n_slots),
        run_config=tune.RunConfig(
            storage_path=ray_path(storage.child(RAY_FOLDER)),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False)
            if in_process
            else None,
            callbacks=[_Forward(listener)],
        ),
    ).fit()


def _placement(shape: ResourceSpec) -> tune.PlacementGroupFactory:
    if shape.workers > 1:
        return tune.PlacementGroupFactory([{HEAD: LAUNCHER_SHARE}])
    bundle = {"CPU": float(shape.cpus_per_worker)}
    return tune.PlacementGroupFactory([bundle | ({"GPU": shape.gpus_per_worker} if shape.gpus_per_worker else {})])


class _Forward(tune.Callback):
    """Tune's events as the listener's."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks for its own restore, which the results store replaces."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._listener.on_tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_start(_run_of(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        records = [EpochRecord.model_validate(row) for row in result.get("epochs", ())]
        self._listener.on_epochs(_run_of(trial), records)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_end(_run_of(trial), None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        lines = str(trial.get_error() or "the process ended without a message").strip().splitlines()
        self._listener.on_end(_run_of(trial), lines[-1])


def _run_of(trial: Any) -> RunSpec:
    return RunSpec.model_validate(trial.config["run"])
