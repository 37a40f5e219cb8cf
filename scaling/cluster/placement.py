"""Which runs fit a cluster, and how many at once."""

from __future__ import annotations

import os
from collections.abc import Sequence

from scaling.errors import StudyError
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec


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
