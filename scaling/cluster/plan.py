"""What a study would cost, before Ray starts: N, images, D, C, memory, time of every run, and what would be refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scaling.checks import check_runs, check_study
from scaling.cluster.branching import BranchStates
from scaling.cluster.makespan import makespan
from scaling.cluster.measured import MeasuredCost
from scaling.cluster.placement import Node, beside_scoring, capacity_problems, needs_gpu, slots
from scaling.cluster.room import Room
from scaling.cluster.session import local_nodes, ray_session, wanted_address
from scaling.data.image_source import image_source
from scaling.data.images import ImageData
from scaling.data.portions import ImageCounts
from scaling.data.subsets import run_images
from scaling.enough import RunSize
from scaling.ledger import Study
from scaling.open_work import Enough
from scaling.specs.objective import from_scratch, objective_spec
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage

CALIBRATION_S = 0.4  # timed steps of each model and batch size


@dataclass(frozen=True)
class RunPlan:
    """One run's cost. flops: C; flops_spent: of C what it alone computes, in train_s; memory_bytes: one worker's."""

    run: RunSpec
    n_params: int
    n_samples: int
    samples_seen: int
    flops: float
    flops_spent: float
    memory_bytes: int
    train_s: float

    def spending(self, flops: float) -> RunPlan:
        """The same run where something else is spent on it."""
        return replace(self, flops_spent=flops, train_s=self.train_s * flops / self.flops_spent)


@dataclass(frozen=True)
class ShapePlan:
    """Open runs of one resource shape. slots: at once, where no other shape takes room; train_s: summed."""

    shape: ResourceSpec
    slots: int
    train_s: float


@dataclass(frozen=True)
class StudyPlan:
    """All runs, what is done already, the resource shapes of those left, and what would be refused.

    wall_s: training time left on the cluster's nodes; start-up and scoring come on top. images: that there are to train
    on. enough: what a `stop` that is reached leaves out. left: run_ids to train.
    """

    runs: tuple[RunPlan, ...]
    done: frozenset[str]
    shapes: tuple[ShapePlan, ...]
    wall_s: float
    refused: tuple[str, ...]
    how_timed: str
    images: ImageCounts
    enough: Enough | None = None
    left: frozenset[str] = frozenset()

    @property
    def n_train(self) -> int:
        return self.images.n_train

    @property
    def images_per_s(self) -> float:
        """Of all runs that are left, over `wall_s`; 0 where none is."""
        left = [plan for plan in self.runs if plan.run.run_id in self.left]
        images = sum(plan.samples_seen * plan.flops_spent / plan.flops for plan in left)
        return images / self.wall_s if self.wall_s else 0.0


def plan_study(
    study: Study, data_dir: Path, address: str | None, throughput: float | None, cache_dir: Path | None = None
) -> StudyPlan:
    """Count, calibrate and check every run of a study.

    Args:
        throughput: training FLOP/s of one worker; None times a few steps of every model on this machine.
        cache_dir: where decoded images are kept; None: the user's cache.

    Raises:
        StudyError: the study is impossible whatever the cluster.
    """
    check_study(study.spec, data_dir)
    runs = study.runs
    data = image_source(study.spec.dataset, data_dir, cache_dir).open()
    check_runs(runs, data)
    nodes, where = _nodes(study.spec, runs, address)
    plans = tuple(plan_run(run, data, throughput) for run in runs)
    work = study.open_work({p.run.run_id: RunSize(p.n_params, p.samples_seen, p.flops) for p in plans})
    open_ids = {run.run_id for run in work.train}
    plans, n_measured = _as_spent(study, plans, open_ids), 0
    if throughput is None:
        plans, n_measured = _as_measured(study, plans)
    left_out = {run.run_id for run, _ in work.enough.left_out} if work.enough else set()
    how = f"{throughput:.3g} FLOP/s a worker, as stated" if throughput else "a few steps of each model timed here"
    how += f", corrected by what {n_measured} finished runs took" if n_measured else ""
    left = {plan.run: plan.train_s for plan in plans if plan.run.run_id in open_ids}
    return StudyPlan(
        plans,
        frozenset(run.run_id for run in runs) - open_ids - left_out,
        plan_shapes(study.spec, left, nodes),
        makespan(left, Room(lambda: nodes, study.spec.scoring)),
        tuple(capacity_problems(study.spec, runs, nodes, where)),
        how,
        ImageCounts.of(data),
        work.enough,
        frozenset(open_ids),
    )


def _as_spent(study: Study, plans: tuple[RunPlan, ...], open_ids: Collection[str]) -> tuple[RunPlan, ...]:
    """What runs that are done have cost, and branches whose trunk is done and left no state: all of C."""
    left = [plan.run for plan in plans if plan.run.run_id in open_ids]
    states = BranchStates(study.storage, left, {plan.run.run_id: plan.n_samples for plan in plans})
    found = []
    for plan in plans:
        run, record = plan.run, study.records.get(plan.run.run_id)
        if run.run_id in open_ids:
            alone = run.trunk is not None and run.trunk not in open_ids and not states.is_there(run)
            found.append(plan.spending(plan.flops) if alone else plan)
        else:
            found.append(plan.spending(record.flops_spent) if record and record.flops_spent else plan)
    return tuple(found)


def _as_measured(study: Study, plans: tuple[RunPlan, ...]) -> tuple[tuple[RunPlan, ...], int]:
    """Times corrected by what the study's finished runs of a shape took, see `measured.MeasuredCost`; their number."""
    known = MeasuredCost((p.run for p in plans), {p.run.run_id: p.train_s for p in plans}, {})
    n_measured = 0
    for plan in plans:
        record = study.records.get(plan.run.run_id)
        if record is not None and record.status == "finished" and record.train_s:
            known.learn_stored(plan.run, record.train_s, plan.train_s)
            n_measured += 1
    return tuple(replace(plan, train_s=known[plan.run.run_id]) for plan in plans), n_measured


def plan_shapes(study: StudySpec, train_s: Mapping[RunSpec, float], nodes: Sequence[Node]) -> tuple[ShapePlan, ...]:
    """Runs at once and training time of every resource shape."""
    free, _ = beside_scoring(study.scoring, nodes)
    times: dict[ResourceSpec, list[float]] = {}
    for run, seconds in train_s.items():
        times.setdefault(run.resources, []).append(seconds)
    return tuple(ShapePlan(shape, slots(shape, free, len(of_it)), sum(of_it)) for shape, of_it in times.items())


def plan_run(run: RunSpec, data: ImageData, throughput: float | None) -> RunPlan:
    from scaling.models.cost import model_cost, training_flops
    from scaling.train.memory import largest_batch, step_memory

    cost = model_cost(run.model, data.image_size, data.n_classes)
    n_samples = len(run_images(data.train.labels, run)[0])
    samples = n_samples * run.training.epochs
    flops = training_flops(cost.flops_per_image, samples, objective_spec(run.objective).passes)
    workers = run.resources.most_workers
    own = samples - run.shared_samples(n_samples)
    spent = flops * own / samples
    memory = step_memory(run, data.image_size, data.n_classes, n_samples)
    if throughput is not None:
        train_s = spent / (throughput * workers)
    else:
        train_s = own * _seconds_an_image(run, data, largest_batch(run, n_samples)) / workers
    return RunPlan(run, cost.n_params, n_samples, samples, flops, spent, memory, train_s)


_TIMED: dict[tuple[str, int], float] = {}


def _seconds_an_image(run: RunSpec, data: ImageData, batch: int) -> float:
    """Median time of a training step on one worker of this machine, divided by its images."""
    training = run.training.model_dump_json(exclude={"epochs"})
    key = (run.model.model_dump_json() + training + repr(run.objective), batch)
    if key not in _TIMED:
        _TIMED[key] = _time_steps(run, data, batch)
    return _TIMED[key]


def _time_steps(run: RunSpec, data: ImageData, batch: int) -> float:
    import numpy as np
    import torch

    from scaling.train.distributed.worker import Worker
    from scaling.train.loop import Training

    device = "cuda" if run.resources.gpus and torch.cuda.is_available() else "cpu"
    worker = Worker(device=device, threads=run.resources.threads)
    with tempfile.TemporaryDirectory() as scratch:
        shuffled = run.training.model_copy(update={"order": "shuffled"})
        alone = {"images_per_class": None, "objective": from_scratch(run.objective), "trunk": None, "branches": ()}
        stand_in = run.model_copy(update=alone | {"training": shuffled})
        training = Training(stand_in, data, Storage(scratch), worker)
    index = np.arange(batch) % len(data.train)
    times: list[float] = []
    training.network.train()
    while len(times) < 3 or sum(times) < CALIBRATION_S:
        began = time.perf_counter()
        float(training.step(training.load_batch(index, (0, len(times))), run.training.lr * 1e-3))
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) / batch


def _nodes(study: StudySpec, runs: Sequence[RunSpec], address: str | None) -> tuple[tuple[Node, ...], str]:
    address = wanted_address(address)
    if address is None:
        return local_nodes(needs_gpu(study, runs)), "this machine"
    with ray_session(address, dashboard=False) as nodes:
        return nodes, "the cluster"
