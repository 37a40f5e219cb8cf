"""Ray Tune schedules a study's runs: one Tuner a resource shape, results to a listener.

Tune's search interface asks for each run when a slot is free, see `offers`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from scaling.data.image_source import ImageSource
from scaling.records import EpochRecord
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

# Read when ray.tune is imported: the store keeps results, the listener shows progress.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # read at each start; one interrupt ends all, not one shape

from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler

from scaling.cluster.distributed import launch_distributed
from scaling.cluster.failures import reason_of
from scaling.cluster.lane_host import HostWish
from scaling.cluster.lanes import AGAIN, ALONE, PACE, WISH, Hosts, LaneTrainable
from scaling.cluster.offers import Offering
from scaling.cluster.trainable import RunTrainable, ray_place
from scaling.layout import RAY_FOLDER

HEAD = "node:__internal_head__"  # a resource that every Ray head has, 1.0: launchers run there and need no CPU
LAUNCHER_SHARE = 0.001
WAIT_S = 0.25


class Listener(Protocol):
    """Hears of every run, on the driver."""

    def on_start(self, run: RunSpec) -> None: ...

    def on_epochs(self, run: RunSpec, records: Sequence[EpochRecord]) -> None: ...

    def on_steps(self, run: RunSpec, images: float, seconds: float) -> None:
        """Before a run's first epoch: so long for so many of its images."""

    def on_end(self, run: RunSpec, error: str | None) -> None: ...

    def on_tick(self) -> None:
        """Called a few times a second while runs go on."""


def train_runs(
    offers: Offering,
    source: ImageSource,
    storage: Storage,
    listener: Listener,
    slots: Callable[[ResourceSpec], int],
    max_failures: int = 2,
    judge: FIFOScheduler | None = None,
) -> None:
    """Train runs on the connected cluster; the workers write the records.

    A Tuner lasts as long as the next run has its resource shape.

    Args:
        offers: which run is next, asked whenever a slot is free, while others go on.
        source: of the images; every process opens it for itself.
        slots: how many runs of a resource shape may go on at once.
        max_failures: how often a run is started again, in all, after its process died; see `failures`.
        judge: may end a run before its last epoch, see `probing`; None: each is trained to its end.
    """
    storage.delete_folder(RAY_FOLDER)  # what an earlier, killed driver left: nothing there is read again
    while (run := offers.look()) != "over":
        if run == "wait":  # for scores of runs that were trained before, or for a trunk
            listener.on_tick()
            time.sleep(WAIT_S)
            continue
        shape = run.resources
        search = _Search(offers, shape, listener)
        _tune(search, shape, source, storage, listener, slots(shape), max_failures, judge)
    storage.delete_folder(RAY_FOLDER)


class _Search(tune.search.Searcher):
    """Asks `offers` for the next run whenever Tune has a slot free; over where that run has another shape."""

    def __init__(self, offers: Offering, shape: ResourceSpec, listener: Listener) -> None:
        super().__init__()
        self._offers, self._shape, self._listener = offers, shape, listener

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: as of `_Forward`."""
        return {}

    @property
    def n_left(self) -> int:
        return self._offers.n_left

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        run = self._offers.look()
        if run == "wait":
            self._listener.on_tick()  # where no run goes on, Tune tells no callback of the time that passes
            return None
        if run == "over" or run.resources != self._shape:
            return str(self.FINISHED)
        self._offers.take(run)
        return {"run": run.model_dump(mode="json")}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Results come by records and scores."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the results store says all."""


def _tune(
    search: _Search,
    shape: ResourceSpec,
    source: ImageSource,
    storage: Storage,
    listener: Listener,
    n_slots: int,
    max_failures: int,
    judge: FIFOScheduler | None = None,
) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told by the listener
    in_actor = shape.workers == 1
    kind = LaneTrainable if shape.side_by_side else RunTrainable if in_actor else launch_distributed
    trainable = tune.with_parameters(kind, source=source, storage_uri=storage.uri)
    hosts = Hosts(source, storage.uri)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _placement(shape)),
        tune_config=tune.TuneConfig(
            reuse_actors=in_actor, max_concurrent_trials=n_slots, scheduler=judge, search_alg=search,
            num_samples=search.n_left,
        ),
        run_config=tune.RunConfig(
            **ray_place(storage.child(RAY_FOLDER)),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False)
            if in_actor
            else None,
            callbacks=[_Forward(listener, hosts, max_failures)],
        ),
    )  # fmt: skip
    try:
        tuner.fit()
    finally:
        hosts.close()


def _placement(shape: ResourceSpec) -> tune.PlacementGroupFactory:
    if shape.workers > 1:
        return tune.PlacementGroupFactory([{HEAD: LAUNCHER_SHARE}])
    bundle = {"CPU": float(shape.cpus_per_worker)}
    return tune.PlacementGroupFactory([bundle | ({"GPU": shape.gpus} if shape.gpus else {})])


class _Forward(tune.Callback):
    """Tune's events as the listener's; hosts that trials ask for are made."""

    def __init__(self, listener: Listener, hosts: Hosts, max_failures: int) -> None:
        self._listener, self._hosts, self._max_failures = listener, hosts, max_failures

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
        if WISH in result:
            self._hosts.make(HostWish(**result[WISH]))
        if PACE in result:
            self._listener.on_steps(_run_of(trial), *result[PACE])
        records = [EpochRecord.model_validate(row) for row in result.get("epochs", ())]
        self._listener.on_epochs(_run_of(trial), records)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trial.config[AGAIN] = True
        trial.config[ALONE] = trial.run_metadata.num_failures >= self._max_failures  # its last start

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._hosts.leave(_run_of(trial).run_id)
        self._listener.on_end(_run_of(trial), None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._hosts.leave(_run_of(trial).run_id)
        self._listener.on_end(_run_of(trial), _why(trial))


def _why(trial: Any) -> str:
    """Why a run was given up. Tune keeps the exception in a file, as the actor may be gone that raised it."""
    n_failures, file = trial.run_metadata.num_failures, Path(trial.pickled_error_file or "")
    reason = reason_of(cloudpickle.loads(file.read_bytes())) if file.is_file() else "the process ended without a word"
    return f"{reason} (given up after {n_failures} starts)" if n_failures > 1 else reason


def _run_of(trial: Any) -> RunSpec:
    return RunSpec.model_validate(trial.config["run"])
