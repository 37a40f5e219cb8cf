"""How training processes hear that an end comes, of the study or of their node, and write their resume files first.

The driver leaves word in Ray's key-value store, where every process of its job looks once a second, as it does at the
nodes that Ray drains (a spot instance that is reclaimed, a node that an autoscaler takes away). A run that has saved
leaves word there too; the driver waits for those a few seconds. One that waits for Tune between epochs takes no step,
hence saves nothing and says nothing: it has its last epoch's resume file, see `EPOCH_INTERVAL_S`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from functools import cache, partial

import ray
from ray.exceptions import RayError
from ray.experimental import internal_kv

from scaling.train.notice import Notice

LOOK_S = 1.0
STOP_S = 30.0  # that a process waits for the end of a study that was stopped
GRACE_S = 30.0  # and beyond the time that a node has left; one without a limit has this alone
SAVED_WITHIN_S = 5.0  # that the driver waits
NAMESPACE = b"scaling-study"


def stop_soon(runs: Collection[str], within_s: float = SAVED_WITHIN_S) -> None:
    """On the driver: have these runs, which go on, save; returns when all have, or after a while."""
    job = _job()
    internal_kv._internal_kv_put(_end(job), b"1", namespace=NAMESPACE)
    left, deadline = set(runs), time.monotonic() + within_s
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = {
            run_id for run_id in left if not internal_kv._internal_kv_exists(_saved(job, run_id), namespace=NAMESPACE)
        }


def process_notice() -> Notice:
    """This process's, which a thread gives; of a process without Ray, one that nobody gives."""
    return _listened_notice() if ray.is_initialized() else Notice()


@cache
def _listened_notice() -> Notice:
    notice, node = Notice(), ray.get_runtime_context().get_node_id()
    threading.Thread(target=_listen, args=(notice, _job(), node), daemon=True).start()
    return notice


def _listen(notice: Notice, job: str, node: str) -> None:
    while True:
        time.sleep(LOOK_S)
        try:
            wait_s = _wait_s(job, node)
        except (RayError, RuntimeError, OSError):  # the head is away, and nobody can be told of
            continue
        if wait_s is None:
            notice.take_back()
        elif not notice.given:
            notice.give(wait_s, partial(_say_saved, job))
            time.sleep(wait_s)


def _wait_s(job: str, node: str) -> float | None:
    """How long the end may take that comes to this node; None: none is known."""
    if internal_kv._internal_kv_exists(_end(job), namespace=NAMESPACE):
        return STOP_S
    deadline_ms = ray._private.state.state.get_draining_nodes().get(node)
    return None if deadline_ms is None else GRACE_S + max(0.0, deadline_ms / 1000 - time.time())


def _say_saved(job: str, run_id: str) -> None:
    internal_kv._internal_kv_put(_saved(job, run_id), b"1", namespace=NAMESPACE)


def _job() -> str:
    return str(ray.get_runtime_context().get_job_id())


def _end(job: str) -> bytes:
    return f"{job} ends".encode()


def _saved(job: str, run_id: str) -> bytes:
    return f"{job} saved {run_id}".encode()
