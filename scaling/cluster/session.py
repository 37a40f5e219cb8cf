"""The Ray cluster that a study runs on: one started here, or one that is there already."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scaling.cluster.address import check_address, named, nobody
from scaling.cluster.failures import first_line
from scaling.cluster.placement import Node
from scaling.cluster.quiet import quiet_ray, silence_raylet
from scaling.cluster.stopping import Stopped, StopSwitch
from scaling.cluster.watch import Pulse, head_pulse, node_pulse, watched
from scaling.errors import StudyError

END_WAIT_S = 8.0  # for Ray's own ending, where a study is stopped
MANY = 256  # nodes of a kind that a growing cluster is thought to reach at most, where it names no limit


def wanted_address(address: str | None) -> str | None:
    """The cluster to join: as named, else Ray's own variable (set inside Ray jobs), else None: start one here."""
    wanted = (address or os.environ.get("RAY_ADDRESS") or "").strip()
    return None if wanted in ("", "local") else wanted


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


def nodes_to_come() -> tuple[Node, ...]:
    """The nodes that are alive, and those that the autoscaler may add: what waits for them is why it does."""
    there, to_come = cluster_nodes(), list(growing_nodes())
    for node in there:
        same = next((other for other in to_come if (other.cpus, other.gpus) == (node.cpus, node.gpus)), None)
        if same is not None:
            to_come.remove(same)
    return (*there, *to_come)


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
    except Exception as error:
        if not _hinders(error):
            raise
        remedy = _of_uv(error) or "run again, or set RAY_TMPDIR to a short path that can be written, such as /tmp"
        raise StudyError(f"Ray does not start on this machine ({first_line(error)}); {remedy}") from error


def _join(address: str) -> None:
    """Ray's own client tries for a quarter of an hour: what does not answer as a cluster does is refused before."""
    check_address(address)
    import ray

    try:
        ray.init(address=address, logging_level="error", log_to_driver=False)
    except ConnectionError as error:
        raise StudyError(nobody(address, first_line(error))) from error
    except Exception as error:
        if not _hinders(error):
            raise
        raise StudyError(_not_joined(address, error)) from error


def _not_joined(address: str, error: Exception) -> str:
    remedy = _of_uv(error) or "correct RAY_AUTH_TOKEN, or use the cluster's versions of Ray and Python"
    return f"the Ray cluster at {named(address)} cannot be joined ({first_line(error)}); {remedy}"


def _of_uv(error: Exception) -> str | None:
    """The remedy where the working folder cannot be sent, as Ray does under `uv run`."""
    from ray.exceptions import RuntimeEnvSetupError

    if not isinstance(error, RuntimeEnvSetupError):
        return None
    return (
        "under `uv run` Ray sends the working folder to its nodes, up to 512 MiB: set RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 "
        "where this package is installed on them, or start in a smaller folder"
    )


def _hinders(error: Exception) -> bool:
    """Of sockets, folders, the token, the version, a slow machine; Ray also raises bare exceptions and its own."""
    ours = isinstance(error, OSError | RuntimeError | ValueError)
    return ours or type(error) is Exception or type(error).__module__.startswith("ray.")
