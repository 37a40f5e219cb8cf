"""Which runs fit a cluster's nodes, and how many at once: pure functions of nodes and of what each process reserves.

A process lies on one node, a share of a GPU on one GPU. Processes are placed by first fit decreasing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scaling.errors import StudyError
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.study import StudySpec

GRAIN = 10_000  # parts of a CPU or GPU: Ray counts no finer


class Node(NamedTuple):
    """A machine of the cluster. name: Ray's id of it; host: what people call it."""

    name: str
    cpus: float
    gpus: float = 0.0
    host: str = ""


class Need(NamedTuple):
    """What one process reserves."""

    cpus: float
    gpus: float = 0.0


class Free(NamedTuple):
    """What is left of a node, in grains; GPUs one by one."""

    node: Node
    cpus: int
    gpus: tuple[int, ...]


def free_nodes(nodes: Sequence[Node]) -> list[Free]:
    """Nodes on which nothing is placed yet."""
    return [Free(node, _grains(node.cpus), (GRAIN,) * int(node.gpus)) for node in nodes]


def take(free: Free, need: Need) -> Free | None:
    """A node with one process more; None: it does not fit there."""
    cpus, gpus = free.cpus - _grains(need.cpus), _take_gpus(free.gpus, _grains(need.gpus))
    return None if cpus < 0 or gpus is None else free._replace(cpus=cpus, gpus=gpus)


def _take_gpus(gpus: tuple[int, ...], need: int) -> tuple[int, ...] | None:
    """A share comes from the fullest GPU that holds it, whole GPUs from those that are free; each keeps its place."""
    if need == 0:
        return gpus
    if need < GRAIN:
        left = min((left for left in gpus if left >= need), default=None)
        return None if left is None else _less(gpus, [gpus.index(left)], need)
    whole = [i for i, left in enumerate(gpus) if left == GRAIN][: need // GRAIN]
    return None if need % GRAIN or len(whole) < need // GRAIN else _less(gpus, whole, GRAIN)


def _less(gpus: tuple[int, ...], which: Sequence[int], need: int) -> tuple[int, ...]:
    return tuple(left - need * (i in which) for i, left in enumerate(gpus))


def _grains(amount: float) -> int:
    return round(amount * GRAIN)


def place(needs: Sequence[Need], free: Sequence[Free]) -> list[Free] | None:
    """What is left when all processes are placed, the largest first, each on the first node that holds it.

    Those without a GPU lie on nodes without GPUs first, as Ray's do.
    """
    left = list(free)
    last = [i for i, node in enumerate(left) if node.gpus]
    cpu_order = [i for i, node in enumerate(left) if not node.gpus] + last
    for need in sorted(needs, key=lambda need: (need.gpus, need.cpus), reverse=True):
        order = last if need.gpus else cpu_order
        found = next(((i, rest) for i in order if (rest := take(left[i], need)) is not None), None)
        if found is None:
            return None
        left[found[0]] = found[1]
    return left


def run_needs(shape: ResourceSpec) -> list[Need]:
    """What a run reserves at least, a process a worker."""
    return [Need(shape.cpus_per_worker, shape.gpus)] * shape.least_workers


def most_needs(shape: ResourceSpec, free: Sequence[Free]) -> list[Need]:
    """What a run reserves on nodes of that size, where nothing else is: of an elastic one, as many workers as fit."""
    each = Need(shape.cpus_per_worker, shape.gpus)
    numbers = range(shape.most_workers, shape.least_workers, -1)
    return [each] * next((n for n in numbers if place([each] * n, free) is not None), shape.least_workers)


def slots(shape: ResourceSpec, free: Sequence[Free], at_most: int) -> int:
    """How many runs of a shape go on at once; at least 1, which on a cluster that grows waits for its nodes."""
    left, n = list(free), 0
    while n < at_most and (rest := place(run_needs(shape), left)) is not None:
        left, n = rest, n + 1
    return max(1, n)


def most_at_once(runs: Iterable[RunSpec], free: Sequence[Free]) -> int:
    """How many runs of the shape of which most fit go on at once."""
    return max((slots(shape, free, n) for shape, n in Counter(run.resources for run in runs).items()), default=1)


def beside_scoring(spec: ScoringSpec, nodes: Sequence[Node]) -> tuple[list[Free], list[Node]]:
    """What the scoring actors leave to training, and the node of each; an actor that fits nowhere takes nothing.

    An actor goes where it leaves least, so that large runs keep their nodes. Actors that reserve nothing lie anywhere:
    no node is given.
    """
    left, homes, need = free_nodes(nodes), list[Node](), Need(spec.cpus, spec.gpus)
    for _ in range(spec.actors if any(need) else 0):
        fits = [(sum(rest.gpus), rest.cpus, i, rest) for i, f in enumerate(left) if (rest := take(f, need)) is not None]
        if fits:
            _, _, i, left[i] = min(fits)
            homes.append(nodes[i])
    return left, homes


def needs_gpu(study: StudySpec, runs: Iterable[RunSpec]) -> bool:
    return study.scoring.gpus > 0 or any(run.resources.gpus for run in runs)


def check_capacity(study: StudySpec, runs: Sequence[RunSpec], nodes: Sequence[Node], where: str) -> None:
    """Refuse a study with a run that can never start.

    Raises:
        StudyError: a run, beside the scoring pool, does not fit the nodes.
    """
    problems = capacity_problems(study, runs, nodes, where)
    if problems:
        raise StudyError(problems[0])


def capacity_problems(study: StudySpec, runs: Sequence[RunSpec], nodes: Sequence[Node], where: str) -> list[str]:
    """One line for every resource shape that does not fit, naming need, limit and remedy."""
    problems = []
    for shape in dict.fromkeys(run.resources for run in runs):
        run = next(run for run in runs if run.resources == shape)
        problems += (
            _too_much(run, nodes, where) or _does_not_fit(run, nodes, where) or _crowded_out(study, run, nodes, where)
        )
    if not problems and len(beside_scoring(study.scoring, nodes)[1]) < _reserving(study.scoring):
        problems.append(
            f"the scoring pool needs {study.scoring.actors} x {_text(study.scoring.cpus, study.scoring.gpus)}, but "
            f"{where} has {nodes_text(nodes)} (study '{study.name}', scoring); lower scoring.actors, cpus or gpus"
        )
    return problems


def _too_much(run: RunSpec, nodes: Sequence[Node], where: str) -> list[str]:
    """CPUs and GPUs by their sums, whatever the nodes and whatever scoring takes."""
    shape = run.resources
    sums = {
        "CPU": (shape.cpus_per_worker, sum(node.cpus for node in nodes)),
        "GPU": (shape.gpus, sum(node.gpus for node in nodes)),
    }
    return [
        f"{run.label()} needs {shape.least_workers * each:g} {kind}s ({shape.least_workers} workers), but {where} has "
        f"{there:g} (study '{run.study}', resources); lower resources, or join a larger cluster with --address"
        for kind, (each, there) in sums.items()
        if shape.least_workers * each > there
    ]


def _does_not_fit(run: RunSpec, nodes: Sequence[Node], where: str) -> list[str]:
    """Node by node; a share of several GPUs is what Ray refuses."""
    shape = run.resources
    if shape.gpus > 1 and shape.gpus % 1:
        return [
            f"gpus_per_worker={shape.gpus:g} of {run.label()} is neither a share of one GPU nor whole GPUs "
            f"(study '{run.study}', resources); give at most 1, or a whole number"
        ]
    if place(run_needs(shape), free_nodes(nodes)) is not None:
        return []
    return [
        f"{_need(run)}, but {where} has {nodes_text(nodes)} (study '{run.study}', resources); "
        "lower resources, or join a cluster of larger nodes with --address"
    ]


def _crowded_out(study: StudySpec, run: RunSpec, nodes: Sequence[Node], where: str) -> list[str]:
    """A run that fits the nodes alone, but not beside the scoring pool: that reserves too much."""
    shape, scoring = run.resources, study.scoring
    left = {
        "CPUs": (shape.cpus_per_worker, sum(node.cpus for node in nodes) - scoring.actors * scoring.cpus),
        "GPUs": (shape.gpus, sum(node.gpus for node in nodes) - scoring.actors * scoring.gpus),
    }
    problems = [
        f"{run.label()} needs {shape.least_workers * each:g} {kind}, but {where} has {max(rest, 0):g}"
        for kind, (each, rest) in left.items()
        if shape.least_workers * each > rest
    ]
    if not problems and place(run_needs(shape), beside_scoring(scoring, nodes)[0]) is None:
        problems = [f"{_need(run)}, but {where} has {nodes_text(nodes)}, too few"]
    pool = f"{scoring.actors} x {_text(scoring.cpus, scoring.gpus)}"
    return [
        f"{problem} beside the scoring pool of {pool} (study '{study.name}', scoring); "
        "lower scoring.actors, scoring.cpus or scoring.gpus, or join a larger cluster with --address"
        for problem in problems
    ]


def _need(run: RunSpec) -> str:
    shape = run.resources
    workers = f"{shape.least_workers} workers" if shape.least_workers > 1 else "one worker"
    return f"{run.label()} needs {workers} of {_text(shape.cpus_per_worker, shape.gpus)}, each on one node"


def _reserving(spec: ScoringSpec) -> int:
    return spec.actors if spec.cpus or spec.gpus else 0


def nodes_text(nodes: Sequence[Node]) -> str:
    """'4 nodes of 4 CPUs and a node of 8 CPUs, 2 GPUs'."""
    counts = Counter((node.cpus, node.gpus) for node in nodes)
    parts = [f"{f'{n} nodes' if n > 1 else 'a node'} of {_text(*size)}" for size, n in counts.items()]
    return " and ".join(parts) or "no node"


def _text(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs" + (f", {gpus:g} GPUs" if gpus else "")
