"""The Ray cluster that a study runs on: one started here, or one that is there already."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from scaling.errors import StudyError


def wanted_address(address: str | None) -> str | None:
    """The cluster to join: as named, else Ray's own variable (set inside Ray jobs), else None: start one here."""
    return address or os.environ.get("RAY_ADDRESS")


@contextmanager
def ray_session(address: str | None, dashboard: bool) -> Iterator[dict[str, float]]:
    """Join the cluster at `address`, or start one on this machine for the block; yields its CPUs and GPUs.

    A cluster started here asks for a token that only this process and its children know.

    Raises:
        StudyError: nothing answers at the address.
    """
    if address is None:
        _start_here(dashboard)
    else:
        _join(address)
    import ray

    try:
        resources = ray.cluster_resources()
        yield {"CPU": resources.get("CPU", 0.0), "GPU": resources.get("GPU", 0.0)}
    finally:
        ray.shutdown()


def _start_here(dashboard: bool) -> None:
    """A token must stand in the environment before Ray is imported, since its core reads it once.

    Where a caller's process imported Ray first, Ray's own way of authentication stays.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    cpus = len(os.sched_getaffinity(0))
    ray.init(address="local", num_cpus=cpus, include_dashboard=dashboard, logging_level="error", log_to_driver=False)


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address=address, logging_level="error", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"no Ray cluster answers at --address='{address}' ({str(error).splitlines()[0]}); start one with "
            "`ray start --head`, correct the address and RAY_AUTH_TOKEN, or leave it out to run on this machine"
        ) from error
