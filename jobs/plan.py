"""What a study would cost, before Ray starts: N, images, D, C, memory, time of every run, and what would be refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.run import check_runs, check_study, study_storage
from scaling.cluster.placement import capacity_problems, local_capacity, training_capacity
from scaling.cluster.session import ray_session, wanted_address
from scaling.data.image_source import image_source
from scaling.data.images import ImageData
from scaling.data.subsets import nested_subset
from scaling.ledger import open_work
from scaling.records import ResultsStore
from scaling.specs.objective import from_scratch, objective_spec
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study

CALIBRATION_S = 0.4  # timed steps of each model and batch size
GIB = 2**30


@dataclass(frozen=True)
class RunPlan:
    """One run's cost. memory_bytes: one worker's; train_s: None where no throughput is known."""

    run: RunSpec
    n_params: int
    n_samples: int
    samples_seen: int
    flops: float
    memory_bytes: int
    train_s: float


@dataclass(frozen=True)
class StudyPlan:
    """All runs, what is done already, slots (runs at once) and what would be refused."""

    runs: tuple[RunPlan, ...]
    done: frozenset[str]
    slots: int
    refused: tuple[str, ...]
    how_timed: str

    @property
    def wall_s(self) -> float:
        """Training time left over the slots; start-up and scoring come on top."""
        return sum(plan.train_s for plan in self.runs if plan.run.run_id not in self.done) / self.slots


def plan_study(
    study: StudySpec, data_dir: Path, address: str | None, throughput: float | None, cache_dir: Path | None = None
) -> StudyPlan:
    """Count, calibrate and check every run of a study.

    Args:
        throughput: training FLOP/s of one worker; None times a few steps of every model on this machine.
        cache_dir: where decoded images are kept; None: the user's cache.

    Raises:
        StudyError: the study is impossible whatever the cluster.
    """
    check_study(study, data_dir)
    runs = expand_study(study)
    data = image_source(study.dataset, data_dir, cache_dir).open()
    check_runs(runs, data)
    capacity, where = _capacity(study, runs, address)
    store = ResultsStore(study_storage(study))
    open_ids = {run.run_id for run in open_work(study, store).train}
    plans = tuple(plan_run(run, data, throughput) for run in runs)
    left = training_capacity(study, capacity)
    widest = max(runs, key=lambda run: run.resources.workers * run.resources.cpus_per_worker).resources
    slots = max(1, int(left["CPU"] // (widest.workers * widest.cpus_per_worker)))
    how = f"{throughput:.3g} FLOP/s a worker, as stated" if throughput else "a few steps of each model timed here"
    return StudyPlan(
        plans,
        frozenset(run.run_id for run in runs) - open_ids,
        slots,
        tuple(capacity_problems(study, runs, capacity, where)),
        how,
    )


def plan_run(run: RunSpec, data: ImageData, throughput: float | None) -> RunPlan:
    from scaling.models.cost import model_cost, training_flops
    from scaling.train.memory import largest_batch, step_memory

    cost = model_cost(run.model, data.image_size, data.n_classes)
    n_samples = len(nested_subset(data.train.labels, run.images_per_class, run.seed))
    samples = n_samples * run.training.epochs
    flops = training_flops(cost.flops_per_image, samples, objective_spec(run.objective).passes)
    workers = run.resources.workers
    memory = step_memory(run, data.image_size, data.n_classes, n_samples)
    if throughput is not None:
        train_s = flops / (throughput * workers)
    else:
        train_s = samples * _seconds_an_image(run, data, largest_batch(run, n_samples)) / workers
    return RunPlan(run, cost.n_params, n_samples, samples, flops, memory, train_s)


_TIMED: dict[tuple[str, int], float] = {}


def _seconds_an_image(run: RunSpec, data: ImageData, batch: int) -> float:
    """Median time of a training step on one worker of this machine, divided by its images."""
    key = (run.model.model_dump_json() + run.training.model_dump_json() + repr(run.objective), batch)
    if key not in _TIMED:
        _TIMED[key] = _time_steps(run, data, batch)
    return _TIMED[key]


def _time_steps(run: RunSpec, data: ImageData, batch: int) -> float:
    import numpy as np
    import torch

    from scaling.train.distributed.worker import Worker
    from scaling.train.loop import Training

    device = "cuda" if run.resources.gpus_per_worker and torch.cuda.is_available() else "cpu"
    worker = Worker(device=device, threads=run.resources.cpus_per_worker)
    with tempfile.TemporaryDirectory() as scratch:
        stand_in = run.model_copy(update={"images_per_class": None, "objective": from_scratch(run.objective)})
        training = Training(stand_in, data, Storage(scratch), worker)
    index = np.arange(batch) % len(data.train)
    times: list[float] = []
    training.network.train()
    while len(times) < 3 or sum(times) < CALIBRATION_S:
        began = time.perf_counter()
        float(training.step(training.load_batch(index, (0, len(times))), run.training.lr * 1e-3))
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) / batch


def _capacity(study: StudySpec, runs: Sequence[RunSpec], address: str | None) -> tuple[dict[str, float], str]:
    address = wanted_address(address)
    if address is None:
        needs_gpu = study.scoring.gpus > 0 or any(run.resources.gpus_per_worker for run in runs)
        return local_capacity(needs_gpu), "this machine"
    with ray_session(address, dashboard=False) as capacity:
        return capacity, "the cluster"


def print_plan(plan: StudyPlan, console: Console) -> None:
    table = Table(
        title=f"{len(plan.runs)} runs, {len(plan.done)} done",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    columns = ("run", "model", "seed", "N", "images", "samples", "C, FLOP", "GiB", "s", "")
    for column in columns:
        table.add_column(column, justify="left" if column in ("run", "model", "") else "right", no_wrap=True)
    for item in plan.runs:
        table.add_row(
            item.run.run_id, item.run.model.label(), str(item.run.seed), f"{item.n_params:,}", f"{item.n_samples:,}",
            f"{item.samples_seen:,}", f"{item.flops:.3g}", f"{item.memory_bytes / GIB:.3f}", f"{item.train_s:.1f}",
            "done" if item.run.run_id in plan.done else "",
        )  # fmt: skip
    console.print(table)
    console.print(
        "samples: samples seen D; GiB: memory of one worker's step; s: training time\n"
        f"total: {sum(item.flops for item in plan.runs):.3g} FLOP, "
        f"{sum(item.train_s for item in plan.runs):.0f} s of training ({plan.how_timed}); "
        f"left: about {plan.wall_s:.0f} s with {plan.slots} runs at once, without start-up and scoring",
        highlight=False,
    )
    for problem in plan.refused:
        console.print(f"refused: {problem}", highlight=False)
