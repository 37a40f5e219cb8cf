"""The process that trains all runs of one GPU, or of one CPU, side by side: what trials hand their runs to."""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from scaling.cluster.failures import cause_of, record_own
from scaling.cluster.sharing import Widening
from scaling.cluster.trainable import local_worker
from scaling.data.image_source import ImageSource
from scaling.records import EpochRecord, ResultsStore
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from scaling.train.lanes import Lanes

FREE_SHARE = 0.9  # of the memory that is free when a host begins, for its runs
LEAST_WAIT_S = 0.05
LAST_WORDS_S = 2.0  # from an error that ruins the device to the host's end: its trials hear why


class HostWish(NamedTuple):
    """A host that the driver is to make. devices: CUDA_VISIBLE_DEVICES; capacity: runs at once."""

    name: str
    node: str
    devices: str | None
    capacity: int
    shape: str


class LaneHost:
    """An actor that trains the runs of one GPU, or of one CPU, side by side; see `scaling.train.lanes`."""

    def __init__(self, source: ImageSource, storage_uri: str, wish: HostWish) -> None:
        if wish.devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = wish.devices  # of the trials: Ray hides them from what reserves none
        self.source, self.storage_uri, self.capacity = source, storage_uri, wish.capacity
        self.widening = Widening() if ResourceSpec.model_validate_json(wish.shape).gpus_per_worker == "auto" else None
        self.runs: dict[str, RunSpec] = {}
        self.paces: dict[str, tuple[float, float]] = {}  # a run's images and the time at the first look
        self.lock = threading.Lock()
        self.ending = False
        self.lanes = self._lanes(wish.devices is not None)

    def _lanes(self, on_gpu: bool) -> Lanes:
        from scaling.train.lanes import Lanes

        limit, widening = FREE_SHARE * _free_memory(on_gpu), self.widening
        if widening is None:  # the study says how many runs share the GPU: Ray admits no more
            return Lanes(limit)
        lanes = Lanes(limit, lambda: widening.width)
        threading.Thread(target=_widen, args=(lanes, widening), daemon=True).start()
        return lanes

    def join(self, run: dict[str, Any]) -> bool:
        """Take a run up, once there is room for it; one that is here already goes on. False: this host is full.

        Raises:
            Exception: what the run itself is refused for, such as images that cannot be opened.
        """
        from scaling.train.lanes import Job

        spec = RunSpec.model_validate(run)
        with self.lock:
            if self.ending or (spec.run_id not in self.runs and len(self.runs) >= self.capacity):
                return False
            self.runs[spec.run_id] = spec
        try:
            job = Job(spec, self.source.open(), Storage(self.storage_uri), local_worker(spec), spec.validation > 0)
            self.lanes.start(spec.run_id, job)
        except Exception as error:
            self.runs.pop(spec.run_id, None)
            if not record_own(ResultsStore(Storage(self.storage_uri)), spec, error):
                raise
        return True

    def has(self, run_id: str) -> bool:
        """Whether a run was taken up here, and not left."""
        return run_id in self.runs

    def take(self, run_id: str, seen: int, wait_s: float) -> tuple[list[EpochRecord], bool]:
        """A run's records after the first `seen`, and whether it is done; short epochs are told together.

        A run that raised is recorded as failed, with the reason.

        Raises:
            Exception: what a new process may not meet again, see `failures`.
        """
        if (run := self.runs.get(run_id)) is None:  # it could not begin, and its record says why
            return [], True
        deadline, records = time.monotonic() + wait_s, list[EpochRecord]()
        while True:
            new, end = self.lanes.take(run_id, seen + len(records), max(LEAST_WAIT_S, deadline - time.monotonic()))
            records += new
            if end is not None:
                break
            if not _goes_on(run, records) or (time.monotonic() >= deadline and not _is_last(run, records)):
                return records, False
        if end.error is None or record_own(ResultsStore(Storage(self.storage_uri)), run, end.error):
            return records, True
        if cause_of(end.error) == "device":
            self._end_soon()
        raise end.error

    def pace(self, run_id: str) -> tuple[float, float] | None:
        """Images that a run has trained on since its first steps here, and the seconds; None where it has not begun."""
        with suppress(KeyError):  # it was left, or refused
            if done := self.lanes.images_done(run_id):
                images, began = self.paces.setdefault(run_id, (done, time.monotonic()))
                return done - images, time.monotonic() - began
        return None

    def leave(self, run_id: str) -> None:
        """Nobody asks for a run any more."""
        self.lanes.leave(run_id)
        self.runs.pop(run_id, None)
        self.paces.pop(run_id, None)

    def _end_soon(self) -> None:
        if not self.ending:
            self.ending = True
            threading.Timer(LAST_WORDS_S, os._exit, [1]).start()


def _is_last(run: RunSpec, records: list[EpochRecord]) -> bool:
    return bool(records) and records[-1].epoch >= run.training.epochs


def _goes_on(run: RunSpec, records: list[EpochRecord]) -> bool:
    """Whether more records are to come before these are told: a probe is judged by each, and ends with its last."""
    if run.validation:
        return not records or _is_last(run, records)
    return all(record.epoch not in run.score_epochs for record in records)


def _free_memory(on_gpu: bool) -> float:
    """Bytes that are free now, on the GPU or in the machine; inf where that is not told."""
    if on_gpu:
        import torch

        return float(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo") as lines:
            return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf


def _widen(lanes: Lanes, widening: Widening) -> None:
    """A thread of the host: lets `widening` look at the runs, once a second."""
    from scaling.models.cost import image_cost
    from scaling.train.computing import RANDOM

    seen: dict[int, float] = {}
    work = 0.0
    while True:
        time.sleep(1.0)
        active, costs = lanes.active, []
        for lane in active:
            with RANDOM:  # a model that was not counted yet is built
                cost = image_cost(lane.job.run, lane.job.data.image_size, lane.job.data.n_classes)
            done = lane.images_done
            work += cost * max(0.0, done - seen.get(id(lane), done))
            seen[id(lane)] = done
            costs.append(cost)
        seen = {id(lane): seen[id(lane)] for lane in active}
        before = widening.width
        widening.observe(len(active), work, sum(costs) / len(costs) if costs else 0.0, time.monotonic())
        if widening.width > before:
            lanes.look()
