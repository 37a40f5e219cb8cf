"""The Ray cluster that a study runs on: one started here, or one that is there already."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from scaling.errors import StudyError
from scaling.study import RunSpec, StudySpec


def wanted_address(address: str | None) -> str | None:
    """The cluster to join: as named, else Ray's own variable (set inside Ray jobs), else None: start one here."""
    return address or os.environ.get("RAY_ADDRESS")


def local_capacity(needs_gpu: bool) -> dict[str, float]:
    """CPUs and GPUs of this machine; torch is asked for GPUs only where they matter."""
    gpus = 0
    if needs_gpu:
        import torch

        gpus = torch.cuda.device_count()
    return {"CPU": float(len(os.sched_getaffinity(0))), "GPU": float(gpus)}


def check_capacity(study: StudySpec, runs: Sequence[RunSpec], capacity: dict[str, float], where: str) -> None:
    """Refuse a study with a run that can never start.

    Raises:
        StudyError: a run, beside the scoring pool, needs more CPUs or GPUs than there are.
    """
    problems = capacity_problems(study, runs, capacity, where)
    if problems:
        raise StudyError(problems[0])


def capacity_problems(study: StudySpec, runs: Sequence[RunSpec], capacity: dict[str, float], where: str) -> list[str]:
    """One line for every resource shape that does not fit, naming need, limit and remedy."""
    problems = []
    for shape in dict.fromkeys(run.resources for run in runs):
        run = next(run for run in runs if run.resources == shape)
        needs = {"CPU": shape.workers * shape.cpus_per_worker, "GPU": shape.workers * shape.gpus_per_worker}
        for kind, need in needs.items():
            left = training_capacity(study, capacity)[kind]
            if need > left:
                problems.append(
                    f"{run.label()} needs {need:g} {kind}s ({shape.workers} workers), but {where} has {left:g} "
                    f"beside the scoring pool (study '{study.name}', resources); "
                    "lower resources, or join a larger cluster with --address"
                )
    return problems


def training_capacity(study: StudySpec, capacity: dict[str, float]) -> dict[str, float]:
    """What the scoring pool leaves to training."""
    taken = {"CPU": study.scoring.actors * study.scoring.cpus, "GPU": study.scoring.actors * study.scoring.gpus}
    return {kind: capacity.get(kind, 0.0) - taken[kind] for kind in taken}


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
