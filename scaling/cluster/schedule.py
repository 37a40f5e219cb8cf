"""Ray Tune schedules a study's runs: one Tuner for all of them, each with a placement of its own.

Tune's search interface asks for each run when there is room for it, see `offers` and `room`; results go to a listener.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from scaling.data.image_source import ImageSource
from scaling.records import EpochRecord
from scaling.specs.run import RunSpec
from scaling.storage import Storage

# Read when ray.tune is imported: the store keeps results, the listener shows progress.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # read at each start
os.environ.setdefault(
    "TUNE_MAX_PENDING_TRIALS_PG", "1024"
)  # runs that wait for a process or, as a cluster grows, a node
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))  # nothing of Tune's own is ever restored

from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler

from scaling.cluster.failures import reason_of
from scaling.cluster.lane_host import HostWish
from scaling.cluster.lanes import PACE, WISH, Hosts
from scaling.cluster.offers import Offering
from scaling.cluster.room import Room
from scaling.cluster.trainable import ray_place
from scaling.cluster.trial import AGAIN, ALONE, StudyTrial, placement, trial_config
from scaling.layout import RAY_FOLDER

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
    runs: Sequence[RunSpec],
    source: ImageSource,
    storage: Storage,
    listener: Listener,
    room: Room,
    max_failures: int = 2,
    judge: FIFOScheduler | None = None,
) -> None:
    """Train runs on the connected cluster; the workers write the records.

    Args:
        offers: which run is next, asked whenever there is room, while others go on.
        runs: all that may be offered.
        source: of the images; every process opens it for itself.
        max_failures: how often a run is started again, in all, after its process died; see `failures`.
        judge: may end a run before its last epoch, see `probing`; None: each is trained to its end.
    """
    storage.delete_folder(RAY_FOLDER)  # what an earlier, killed driver left: nothing there is read again
    while offers.look(room.fits) == "wait":  # for scores of runs that were trained before, or for a trunk
        listener.on_tick()
        time.sleep(WAIT_S)
    if offers.look(room.fits) != "over":
        _tune(_Search(offers, listener, room), runs, source, storage, listener, max_failures, judge)
    storage.delete_folder(RAY_FOLDER)


class _Search(tune.search.Searcher):
    """Asks `offers` for the next run whenever Tune may take one up."""

    def __init__(self, offers: Offering, listener: Listener, room: Room) -> None:
        super().__init__()
        self._offers, self._listener, self.room = offers, listener, room

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: as of `_Forward`."""
        return {}

    @property
    def n_left(self) -> int:
        return self._offers.n_left

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        run = self._offers.look(self.room.fits)
        if run == "wait":
            self._listener.on_tick()  # where no run goes on, Tune tells no callback of the time that passes
            return None
        if run == "over":
            return str(self.FINISHED)
        self._offers.take(run)
        self.room.take(run)
        return trial_config(run)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Results come by records and scores."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the results store says all."""


def _tune(
    search: _Search,
    runs: Sequence[RunSpec],
    source: ImageSource,
    storage: Storage,
    listener: Listener,
    max_failures: int,
    judge: FIFOScheduler | None = None,
) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told by the listener
    specs = {run.run_id: run.model_dump_json() for run in runs}
    trainable = tune.with_parameters(
        StudyTrial, specs=specs, source=source, storage_uri=storage.uri, max_failures=max_failures
    )
    hosts = Hosts(source, storage.uri)
    tuner = tune.Tuner(
        tune.with_resources(trainable, placement),
        tune_config=tune.TuneConfig(
            reuse_actors=True, scheduler=judge, search_alg=search, num_samples=search.n_left,
        ),
        run_config=tune.RunConfig(
            **ray_place(storage.child(RAY_FOLDER)),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=[_Forward(listener, hosts, search.room, {run.run_id: run for run in runs}, max_failures)],
        ),
    )  # fmt: skip
    try:
        tuner.fit()
    finally:
        hosts.close()


class _Forward(tune.Callback):
    """Tune's events as the listener's; hosts that trials ask for are made."""

    def __init__(
        self, listener: Listener, hosts: Hosts, room: Room, runs: Mapping[str, RunSpec], max_failures: int
    ) -> None:
        self._listener, self._hosts, self._room = listener, hosts, room
        self._runs, self._max_failures = runs, max_failures

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks for its own restore, which the results store replaces."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._listener.on_tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_start(self._run(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if WISH in result:
            self._hosts.make(HostWish(**result[WISH]))
        if PACE in result:
            self._listener.on_steps(self._run(trial), *result[PACE])
        records = [EpochRecord.model_validate(row) for row in result.get("epochs", ())]
        self._listener.on_epochs(self._run(trial), records)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trial.config[AGAIN] = True
        trial.config[ALONE] = trial.run_metadata.num_failures >= self._max_failures  # its last start

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial, _why(trial))

    def _ended(self, trial: Any, error: str | None) -> None:
        run = self._run(trial)
        self._hosts.leave(run.run_id)
        self._room.leave(run.run_id)
        self._listener.on_end(run, error)

    def _run(self, trial: Any) -> RunSpec:
        return self._runs[trial.config["run"]]


def _why(trial: Any) -> str:
    """Why a run was given up. Tune keeps the exception in a file, as the actor may be gone that raised it."""
    n_failures, file = trial.run_metadata.num_failures, Path(trial.pickled_error_file or "")
    reason = reason_of(cloudpickle.loads(file.read_bytes())) if file.is_file() else "the process ended without a word"
    return f"{reason} (given up after {n_failures} starts)" if n_failures > 1 else reason
