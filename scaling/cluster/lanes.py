"""Several runs on one GPU, or on one CPU: a trial hands its run to the process that all runs there share, its host.

Three ways were weighed. A trial that is a bundle of runs leaves Tune to decide for bundles: no run of it could be asked
of a search, judged by ASHA or started again alone, and a bundle lasts as long as its longest run. A process a run, on
shares of the GPU, is what Ray offers by itself: the GPU then goes from process to process in time slices. Here a run
stays a trial of its own, whose actor reserves the run's share in Ray's books (so that they are true, on any node that
joins) and computes nothing: it hands the run to the host of its GPU, asks it for news, and tells Tune. A host reserves
nothing; the driver makes it when a trial asks for one, so that it ends with the driver, and Ray's name for it is how
trials find it. What this costs is an idle process a trial, without torch.

What ends a run ends its lane in the host. An error that leaves the device unusable ends the host, and all trials whose
runs it had are started again by Tune, as where the host is killed. The last start that a run has is in a host of its
own: no run is given up for what its neighbours do.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from contextlib import suppress
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scaling.cluster.lane_host import HostWish, LaneHost
from scaling.cluster.trainable import REPORT_INTERVAL_S, report
from scaling.data.image_source import ImageSource
from scaling.specs.run import RunSpec

WISH = "host_wish"  # in a report: the host that a trial asks the driver for
PACE = "pace"  # in a report before the first epoch: images since the first steps, and their seconds
HOST_NAME = "lanes"  # begins the names of hosts
WAIT_S = 0.25
MOST_DEATHS = 3  # of hosts that a trial meets before it has joined one


class Lane:
    """A run whose trial reserves its share, and has it trained by the host there.

    Args:
        again: it was started before, and may go on in a host. alone: it is to have a host of its own.
    """

    def __init__(self, run: RunSpec, again: bool = False, alone: bool = False) -> None:
        self.run, self.alone = run, alone
        self.host: Any = _host_of(run.run_id) if again else None
        self.seen, self.dead = 0, set[str]()  # names of hosts that were found dead

    def step(self) -> dict[str, Any]:
        """What has come of the run in about a second, or up to the next epoch that is to be scored.

        Raises:
            Exception: what a new process may not meet again, see `failures`; Tune starts the run anew.
        """
        if self.host is None and (wish := self._join()) is not None:
            time.sleep(WAIT_S)
            return report(self.run, []) | {"done": False, WISH: wish._asdict()}
        assert self.host is not None
        run_id = self.run.run_id
        try:
            records, done = ray.get(self.host.take.remote(run_id, self.seen, REPORT_INTERVAL_S))
            pace = None if self.seen or records else ray.get(self.host.pace.remote(run_id))
        except Exception:
            self.close()
            raise
        self.seen += len(records)
        if done:
            self.close()
        told = report(self.run, records) | {"done": done}
        return told if pace is None else told | {PACE: pace}

    def close(self) -> None:
        if self.host is not None:
            with suppress(RayActorError):  # heard before its place is asked for by another run
                ray.get(self.host.leave.remote(self.run.run_id))
            self.host = None

    def _join(self) -> HostWish | None:
        """Hand the run to a host here that has room; where there is none, that which is to be made.

        Raises:
            RayActorError: one host after the other ended before the run had joined it.
        """
        prefix = host_prefix(self.run, self.alone)
        listed = ray.util.list_named_actors()
        names = {name for name in listed if name.startswith(prefix) and name[len(prefix) :].isdigit()}
        for name in sorted(names - self.dead):
            try:
                host = ray.get_actor(name)
                if ray.get(host.join.remote(self.run.model_dump(mode="json"))):
                    self.host = host
                    return None
            except ValueError:  # gone since they were listed
                continue
            except RayActorError:
                self.dead.add(name)
                if len(self.dead) >= MOST_DEATHS:
                    raise
        free = (name for number in count() if (name := f"{prefix}{number}") not in names | self.dead)
        return host_wish(self.run, self.alone, next(free))


def _host_of(run_id: str) -> Any:
    """The host in which a run goes on whose trial has died; None: no host has it."""
    for name in ray.util.list_named_actors():
        if name.startswith(HOST_NAME):
            with suppress(ValueError, RayActorError):
                host = ray.get_actor(name)
                if ray.get(host.has.remote(run_id)):
                    return host
    return None


def host_prefix(run: RunSpec, alone: bool) -> str:
    """Begins the names of the hosts of a trial's GPU, or of this node's CPUs; of this run alone if asked."""
    kind = hashlib.sha256(run.resources.model_dump_json().encode()).hexdigest()[:8]
    node, devices = ray.get_runtime_context().get_node_id()[:12], _devices(run)
    return "-".join([HOST_NAME, kind, node, devices or "cpu", *([run.run_id] if alone else []), ""])


def host_wish(run: RunSpec, alone: bool, name: str) -> HostWish:
    shape = run.resources
    capacity = 1 if alone else math.floor(1 / (shape.gpus or shape.cpus_per_worker) + 1e-9)
    return HostWish(name, ray.get_runtime_context().get_node_id(), _devices(run), capacity, shape.model_dump_json())


def _devices(run: RunSpec) -> str | None:
    """The GPU that Ray gave the trial, as CUDA_VISIBLE_DEVICES has it; None: it asked for none."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "") if run.resources.gpus else None


class Hosts:
    """On the driver: the hosts that trials have asked for, while one Tuner goes on."""

    def __init__(self, source: ImageSource, storage_uri: str) -> None:
        self._source, self._storage_uri = source, storage_uri
        self._hosts: list[Any] = []

    def make(self, wish: HostWish) -> None:
        """A host of that name, unless there is one."""
        if wish.name in ray.util.list_named_actors():
            return
        placed = NodeAffinitySchedulingStrategy(wish.node, soft=False)
        host = ray.remote(LaneHost).options(
            name=wish.name, num_cpus=0, max_concurrency=2 * wish.capacity + 8, scheduling_strategy=placed
        )
        self._hosts.append(host.remote(self._source, self._storage_uri, wish))

    def leave(self, run_id: str) -> None:
        """A trial has ended, however: its run is not to go on."""
        for host in self._hosts:
            host.leave.remote(run_id)

    def close(self) -> None:
        for host in self._hosts:
            ray.kill(host)
        self._hosts.clear()
