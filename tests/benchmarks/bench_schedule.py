"""Simulated: the schedule's own ordering and placement on a cluster of GPUs that fail and come back. No GPU is used.

    python tests/benchmarks/bench_schedule.py [--repeats 3]

600 ImageNet runs on 64 GPUs: C of the published study's ImageNet runs (the 600 dearest, or repeated where there are
fewer), at an assumed FLOP/s of a GPU. 10,000 runs on 1,024 GPUs: made, log-normal times. Both calm, and with processes
that die and nodes that are reclaimed and come back.

OneQueue is what `schedule.train_runs` does: `LongestFirst` is asked for the longest run that fits by `Room`. InTurn
lets the shapes follow each other, as a Tuner a shape would: the next one starts when the one before has ended.

A line: makespan over the bound max(total work / GPUs, longest run); idle, the share of the GPU time that was there
until the end in which no step was made; restarts; work lost, as a share of all. The bound is that of a calm cluster.
"""

from __future__ import annotations

import argparse
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.cluster.offers import Fits, LongestFirst
from scaling.cluster.placement import Free, Node, free_nodes, place, run_needs
from scaling.cluster.room import Room
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec

H = 3600.0
NO_SCORING = ScoringSpec(cpus=0)
GPUS_A_NODE, CPUS_A_NODE = 8, 64
FLOPS_PER_S = 30e12  # of a GPU in training; assumption
START_S = 30.0  # from a placement to the first step; assumption
CHECKPOINT_S = 60.0  # between two resume files: a death loses half of it on average; assumption
DEATHS_PER_GPU_H = 1 / 2000.0  # of a process; assumption
RECLAIMED_PER_NODE_H = 1 / 24.0  # assumption
AWAY_H = 0.5  # until a reclaimed node is replaced, on average; assumption
SHAPES = {n: ResourceSpec(workers=n, cpus_per_worker=6, gpus_per_worker=1) for n in (1, 4, 8)}
WEEK_OF_GPU, DAY_OF_GPU = 7 * 24 * H, 24 * H  # single-GPU time beyond which a run gets 8, or 4 GPUs; assumption


@dataclass(frozen=True)
class Stub:
    """What ordering and placement ask of a RunSpec."""

    run_id: str
    resources: ResourceSpec


@dataclass
class Job:
    """A run, and its seconds of work left on its GPUs."""

    run: Stub
    left_s: float

    @property
    def gpus(self) -> int:
        return self.run.resources.workers


@dataclass
class Going:
    """A job that holds its place. homes: node -> grains of CPU and of each GPU there; works_from: after its start."""

    job: Job
    homes: dict[str, tuple[int, tuple[int, ...]]]
    works_from: float
    ends: int  # number of the event that ends it; an earlier one is void


@dataclass
class Counts:
    """GPU-seconds in which steps were made, kept or lost, and in which GPUs were there."""

    worked: float = 0.0
    lost: float = 0.0
    there: float = 0.0
    restarts: int = 0


class OneQueue:
    """The next run as `schedule.train_runs` takes it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = {job.run.run_id: job for job in jobs}
        cost = {run_id: job.left_s for run_id, job in self._jobs.items()}
        runs = [job.run for job in jobs]
        self._offers = LongestFirst(runs, cost, lambda run: None)  # type: ignore[arg-type]

    def next(self, going: Sequence[Job], fits: Fits) -> Job | None:
        run = self._offers.look(fits)
        if isinstance(run, str):
            return None
        self._offers.take(run)
        return self._jobs[run.run_id]


class InTurn(OneQueue):
    """Shapes follow each other."""

    def next(self, going: Sequence[Job], fits: Fits) -> Job | None:
        shapes = {job.run.resources for job in going}
        first = min((key[0] for key in self._offers._queues), key=lambda shape: shape.workers, default=None)
        if first is None or shapes - {first}:
            return None
        return super().next(going, lambda shape: shape == first and fits(shape))


Policy = Callable[[Sequence[Job]], OneQueue]


@dataclass
class Cluster:
    """Nodes, what goes on, and what is to happen."""

    nodes: Sequence[Node]
    policy: OneQueue
    rng: np.random.Generator
    faults: bool
    now: float = 0.0
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.free = {free.node.name: free for free in free_nodes(self.nodes)}
        self.room = Room(lambda: [free.node for free in self.free.values()], NO_SCORING, clock=lambda: self.now)
        self.going: dict[str, Going] = {}
        self.waiting: deque[Job] = deque()  # lost their place; Tune starts them again before any other
        self._events: list[tuple[float, int, Callable[[int], None]]] = []
        self._numbers = count()
        if self.faults:
            for node in self.nodes:
                self._at(self.rng.exponential(H / RECLAIMED_PER_NODE_H), lambda _, name=node.name: self._reclaim(name))

    def run(self, n_jobs: int) -> float:
        """Seconds until all jobs are done."""
        self.done = 0
        self._start()
        while self.done < n_jobs:
            at, number, happens = heapq.heappop(self._events)
            self.counts.there += (at - self.now) * GPUS_A_NODE * len(self.free)
            self.now = at
            happens(number)
            self._start()
        return self.now

    def _at(self, delay: float, happens: Callable[[int], None]) -> int:
        number = next(self._numbers)
        heapq.heappush(self._events, (self.now + delay, number, happens))
        return number

    def _start(self) -> None:
        """All that may start now, where `place` finds room; the book says what may be asked for."""
        while self.waiting and self._place(self.waiting[0]):
            self.waiting.popleft()
        taken = [*(going.job for going in self.going.values()), *self.waiting]
        while (job := self.policy.next(taken, self.room.fits)) is not None:
            self.room.take(job.run)  # type: ignore[arg-type]
            taken.append(job)
            if not self._place(job):
                self.waiting.append(job)

    def _place(self, job: Job) -> bool:
        before = list(self.free.values())
        after = place(run_needs(job.run.resources), before)
        if after is None:
            return False
        homes = {}
        for old, new in zip(before, after, strict=True):
            if new != old:
                gpus = tuple(before - left for before, left in zip(old.gpus, new.gpus, strict=True))
                homes[old.node.name] = (old.cpus - new.cpus, gpus)
                self.free[old.node.name] = new
        self._go(Going(job, homes, self.now + START_S, -1))
        return True

    def _go(self, going: Going) -> None:
        """From its start to its end, or to the death of a process."""
        job = going.job
        dies = self.rng.exponential(H / (DEATHS_PER_GPU_H * job.gpus)) if self.faults else np.inf
        happens = self._die if dies < job.left_s else self._end
        going.ends = self._at(START_S + min(dies, job.left_s), lambda number: happens(job.run.run_id, number))
        self.going[job.run.run_id] = going

    def _end(self, run_id: str, number: int) -> None:
        if run_id in self.going and self.going[run_id].ends == number:
            self._stop(run_id, 0.0)
            self.room.leave(run_id)
            self.done += 1

    def _die(self, run_id: str, number: int) -> None:
        """It is started again where it was."""
        going = self.going.get(run_id)
        if going is not None and going.ends == number:
            self._worked(going, self.rng.uniform(0, CHECKPOINT_S))
            self.counts.restarts += 1
            going.works_from = self.now + START_S
            self._go(going)

    def _worked(self, going: Going, lost_s: float) -> None:
        """Its steps since it began to work; the last `lost_s` of them are to be made again."""
        made = max(0.0, self.now - going.works_from)
        lost = min(made, lost_s)
        self.counts.worked += (made - lost) * going.job.gpus
        self.counts.lost += lost * going.job.gpus
        going.job.left_s -= made - lost

    def _stop(self, run_id: str, lost_s: float) -> Job:
        """It gives its place back, on the nodes that are there."""
        going = self.going.pop(run_id)
        self._worked(going, lost_s)
        for name, (cpus, gpus) in going.homes.items():
            if name in self.free:
                free = self.free[name]
                whole = tuple(left + held for left, held in zip(free.gpus, gpus, strict=True))
                self.free[name] = Free(free.node, free.cpus + cpus, whole)
        return going.job

    def _reclaim(self, name: str) -> None:
        """A node goes, and its runs lose their place."""
        node = self.free.pop(name).node
        for run_id in [run_id for run_id, going in self.going.items() if name in going.homes]:
            self.waiting.append(self._stop(run_id, self.rng.uniform(0, CHECKPOINT_S)))
            self.counts.restarts += 1
        self._at(self.rng.exponential(AWAY_H * H), lambda _: self._come(node))

    def _come(self, node: Node) -> None:
        self.free[node.name] = free_nodes([node])[0]
        self._at(self.rng.exponential(H / RECLAIMED_PER_NODE_H), lambda _: self._reclaim(node.name))


def measure(times: Sequence[tuple[ResourceSpec, float]], n_gpus: int, policy: Policy, faults: bool, seed: int) -> str:
    """One simulated study: shapes and seconds of its runs."""
    nodes = [Node(f"n{i}", CPUS_A_NODE, GPUS_A_NODE) for i in range(n_gpus // GPUS_A_NODE)]
    jobs = [Job(Stub(str(i), shape), seconds) for i, (shape, seconds) in enumerate(times)]
    total = sum(job.gpus * job.left_s for job in jobs)
    bound = max(total / n_gpus, max(job.left_s for job in jobs))
    began = time.perf_counter()
    cluster = Cluster(nodes, policy(jobs), np.random.default_rng(seed), faults)
    makespan = cluster.run(len(jobs))
    counts = cluster.counts
    assert abs(counts.worked - total) < 1e-6 * total, "work is neither lost nor done twice"
    return (
        f"{makespan / H:9.1f} h  x {makespan / bound:5.3f} of bound {bound / H:7.1f} h  "
        f"idle {1 - (counts.worked + counts.lost) / counts.there:5.1%}  {counts.restarts:6,} restarts  "
        f"lost {counts.lost / total:6.3%}  ({time.perf_counter() - began:.0f} s here)"
    )


def published_times(n: int) -> list[tuple[ResourceSpec, float]]:
    """The dearest ImageNet runs of Gokce & Schrimpf (2025) by their C, which their table has; simulated in time."""
    folder = Path(os.environ.get("SCALING_DATA_DIR", "data"))
    table = pd.read_csv(folder / "gokce2025" / "benchmark_scores.csv").drop_duplicates("model_id")
    trained = table[(table.dataset == "imagenet") & (table.total_flops > 0) & ~table.is_open_clip.astype(bool)]
    flops = np.sort(trained.total_flops.to_numpy())[::-1]
    print(f"published table: {len(flops)} ImageNet runs, {flops.sum():.2g} FLOP")
    return [shaped(float(c) / FLOPS_PER_S) for c in np.resize(flops, n)]


def made_times(n: int, seed: int = 0) -> list[tuple[ResourceSpec, float]]:
    """Log-normal, 95 % within a factor of 20 around 6 GPU-hours."""
    return [shaped(seconds) for seconds in np.random.default_rng(seed).lognormal(np.log(6 * H), np.log(20) / 2, n)]


def shaped(gpu_s: float) -> tuple[ResourceSpec, float]:
    """A run of so many GPU-seconds, on one GPU or more; more are assumed to share the work without loss."""
    n = 8 if gpu_s > WEEK_OF_GPU else 4 if gpu_s > DAY_OF_GPU else 1
    return SHAPES[n], gpu_s / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    repeats = parser.parse_args().repeats
    print("simulated: no run is trained, times follow from C and assumptions")
    for name, times, n_gpus in (
        ("600 ImageNet runs, 64 GPUs", published_times(600), 64), ("10,000 runs, 1,024 GPUs", made_times(10_000), 1024)
    ):  # fmt: skip
        shapes = {n: sum(shape.workers == n for shape, _ in times) for n in SHAPES}
        print(f"\n{name}: {', '.join(f'{k} of {n} GPUs' for n, k in shapes.items())}")
        for faults in (False, True):
            for seed in range(repeats if faults else 1):
                for policy in (InTurn, OneQueue):
                    said = measure(times, n_gpus, policy, faults, seed)
                    print(f"  {'faults' if faults else 'calm':7}{policy.__name__:9}{said}", flush=True)


if __name__ == "__main__":
    main()
