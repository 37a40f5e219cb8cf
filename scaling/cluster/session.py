"""The Ray cluster that a study runs on: one started here, or one that is there already."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scaling.cluster.failures import first_line
from scaling.cluster.placement import Node
from scaling.cluster.quiet import quiet_ray, silence_raylet
from scaling.cluster.stopping import Stopped, StopSwitch
from scaling.cluster.watch import Pulse, answers, head_pulse, node_pulse, watched
from scaling.errors import StudyError

END_WAIT_S = 8.0  # for Ray's own ending, where a study is stopped
MANY = 256  # nodes of a kind that a growing cluster is thought to reach at most, where it names no limit


def wanted_address(address: str | None) -> str | None:
    """The cluster to join: as named, else Ray's own variable (set inside Ray jobs), else None: start one here."""
    return address or os.environ.get("RAY_ADDRESS")


def local_nodes(needs_gpu: bool) -> tuple[Node, ...]:
    """This machine; torch is asked for GPUs only where they matter."""
    gpus = 0
    if needs_gpu:
        import torch

        gpus = torch.cuda.device_count()
    return (Node("here", float(len(os.sched_getaffinity(0))), float(gpus)),)


@contextmanager
def ray_session(address: str | None, dashboard: bool, switch: StopSwitch | None = None) -> Iterator[tuple[Node, ...]]:
    """Join the cluster at `address`, or start one on this machine for the block; yields its nodes.

    A cluster started here asks for a token that only this process and its children know.

    Args:
        switch: takes the signals back from Ray, and is told when the cluster does not answer any more.

    Raises:
        StudyError: nothing answers at the address, or Ray does not start here.
    """
    with quiet_ray():
        if address is None:
            _start_here(dashboard)
        else:
            _join(address)
        silence_raylet()
        try:
            if switch is None:
                yield cluster_nodes()
                return
            switch.arm()
            with switch.instead(), watched(_pulses(address), switch):
                yield cluster_nodes()
        finally:
            _leave(None if switch is None else switch.stopped)


def cluster_nodes() -> tuple[Node, ...]:
    """The nodes that are alive."""
    import ray

    return tuple(
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0), _host(node))
        for node in ray.nodes()
        if node["Alive"]
    )


def growing_nodes() -> tuple[Node, ...]:
    """What the cluster's autoscaler may add, as far as it says so."""
    from ray._private.state import state

    config = state.get_cluster_config()
    return _grown([] if config is None else config.node_group_configs)


def _grown(groups: Sequence[Any]) -> tuple[Node, ...]:
    return tuple(
        Node(f"{group.name}-{i}", float(group.resources.get("CPU", 0)), float(group.resources.get("GPU", 0)))
        for group in groups
        for i in range(MANY if group.max_count < 0 else min(group.max_count, MANY))
    )


def _host(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _pulses(address: str | None) -> list[Pulse]:
    """What has to answer; a remote client has neither a node here nor, perhaps, a way to the head's inner address."""
    import ray
    from ray._private.worker import global_worker

    if address is not None and "://" in address:
        return []
    node = global_worker.node
    return [head_pulse(ray.get_runtime_context().gcs_address), node_pulse(node.raylet_socket_name)]


def _leave(stopped: Stopped | None) -> None:
    """Leave the cluster; where a study was stopped in a thread, since Ray waits for a part of it that is gone."""
    import ray

    if stopped is None:
        ray.shutdown()
        return
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(END_WAIT_S)
    stopped.at_once = stopped.at_once or thread.is_alive()


def _start_here(dashboard: bool) -> None:
    """A token must stand in the environment before Ray is imported, since its core reads it once.

    Where a caller's process imported Ray first, Ray's own way of authentication stays. Under `uv run`, Ray would send
    the working folder to workers that are here anyway.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    cpus = len(os.sched_getaffinity(0))
    try:
        ray.init(
            address="local", num_cpus=cpus, include_dashboard=dashboard, logging_level="error", log_to_driver=False
        )
    except Exception as error:  # whatever hinders it: sockets, folders, a slow machine; Ray raises bare ones too
        raise StudyError(
            f"Ray does not start on this machine ({first_line(error)}); run again, or set RAY_TMPDIR to a short path "
            "that can be written, such as /tmp"
        ) from error


def _join(address: str) -> None:
    _check_answers(address)
    import ray

    try:
        ray.init(address=address, logging_level="error", log_to_driver=False)
    except Exception as error:  # of the connection, the token, the version, the address's form
        raise StudyError(_nobody(address, first_line(error))) from error


def _check_answers(address: str) -> None:
    """Refuse an address at once where no connection is taken: Ray asks for a quarter of an hour."""
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if host and port.isdecimal() and not answers(host.strip("[]"), int(port), timeout_s=20.0):
        raise StudyError(_nobody(address, "no connection"))


def _nobody(address: str, why: str) -> str:
    return (
        f"no Ray cluster answers at --address='{address}' ({why}); start one with "
        "`ray start --head`, correct the address and RAY_AUTH_TOKEN, or leave it out to run on this machine"
    )
