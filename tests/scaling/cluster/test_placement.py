"""What fits nodes, and how many at once: by tables."""

from __future__ import annotations

import pytest

from scaling.cluster.placement import (
    Need,
    Node,
    beside_scoring,
    capacity_problems,
    check_capacity,
    free_nodes,
    place,
    run_needs,
    slots,
)
from scaling.cluster.plan import plan_shapes
from scaling.errors import StudyError
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec
from scaling.study import expand_study


def nodes(*sizes: tuple[float, float]) -> list[Node]:
    return [Node(f"n{i}", cpus, gpus, f"host{i}") for i, (cpus, gpus) in enumerate(sizes)]


FOUR = nodes(*[(4, 0)] * 4)
MIXED = nodes((4, 0), (16, 4), (8, 1))
FITS = {
    "8 CPUs on 4 x 4": ([Need(8)], FOUR, False),
    "two workers of 4": ([Need(4)] * 2, FOUR, True),
    "three workers of 3 on 4 x 4": ([Need(3)] * 3, FOUR, True),
    "five workers of 3 on 4 x 4, though 16 > 15": ([Need(3)] * 5, FOUR, False),
    "the large one first": ([Need(4), Need(16)], nodes((4, 0), (16, 0)), True),
    "the large one first, nodes the other way": ([Need(4), Need(16)], nodes((16, 0), (4, 0)), True),
    "GPUs": ([Need(1, 1)] * 5, MIXED, True),
    "six GPUs of five": ([Need(1, 1)] * 6, MIXED, False),
    "four GPUs on one node": ([Need(1, 4)], MIXED, True),
    "four GPUs on two nodes": ([Need(1, 4)], nodes((8, 2), (8, 2)), False),
    "halves": ([Need(1, 0.5)] * 2, nodes((2, 1)), True),
    "three halves": ([Need(1, 0.5)] * 3, nodes((3, 1)), False),
    "0.6 does not straddle two GPUs": ([Need(1, 0.6)] * 3, nodes((8, 2)), False),
    "a whole one beside shares": ([Need(1, 0.5), Need(1, 0.5), Need(1, 1)], nodes((3, 2)), True),
    "thirds": ([Need(1, 0.3333)] * 3, nodes((3, 1)), True),
    "more than one is whole": ([Need(1, 1.5)], nodes((3, 2)), False),
    "tenths add up": ([Need(0.1)] * 10, nodes((1, 0)), True),
    "nothing": ([Need(0)] * 3, nodes((0, 0)), True),
}


@pytest.mark.parametrize("case", FITS)
def test_processes_fit_node_by_node(case):
    needs, there, fits = FITS[case]
    assert (place(needs, free_nodes(there)) is not None) == fits


SLOTS = {
    "one worker": (ResourceSpec(), FOUR, 16),
    "3 CPUs leave one over on each": (ResourceSpec(cpus_per_worker=3), FOUR, 4),
    "workers over nodes": (ResourceSpec(workers=3, cpus_per_worker=2), FOUR, 2),
    "GPUs bind": (ResourceSpec(cpus_per_worker=2, gpus_per_worker=1), MIXED, 5),
    "CPUs bind": (ResourceSpec(cpus_per_worker=8, gpus_per_worker=1), MIXED, 3),
    "a third of a GPU": (ResourceSpec(gpus_per_worker=0.3), MIXED, 15),
    "0.6 of a GPU": (ResourceSpec(gpus_per_worker=0.6), MIXED, 5),
    "half a CPU": (ResourceSpec(cpus_per_worker=0.5), FOUR, 32),
    "as many on a GPU as train faster": (ResourceSpec(gpus_per_worker="auto", cpus_per_worker=0.5), MIXED, 48),
    "4 workers of a GPU": (ResourceSpec(workers=4, gpus_per_worker=1), MIXED, 1),
    "a cluster that has none yet": (ResourceSpec(gpus_per_worker=1), nodes((0, 0)), 1),
}


@pytest.mark.parametrize("case", SLOTS)
def test_runs_at_once(case):
    shape, there, expected = SLOTS[case]
    assert slots(shape, free_nodes(there), 100) == expected
    assert slots(shape, free_nodes(there), 2) == min(expected, 2), "no more than there are runs"


def test_what_is_counted_can_be_placed_together():
    for shape, there, expected in SLOTS.values():
        if there != nodes((0, 0)):
            assert place(run_needs(shape) * expected, free_nodes(there)) is not None


def test_scoring_actors_leave_large_nodes_to_runs():
    left, homes = beside_scoring(ScoringSpec(actors=2, cpus=2), nodes((8, 0), (4, 0)))
    assert [home.name for home in homes] == ["n1", "n1"]
    assert slots(ResourceSpec(cpus_per_worker=8), left, 9) == 1
    assert place([Need(8)], left) is not None
    left, homes = beside_scoring(ScoringSpec(actors=3, gpus=0.5), nodes((4, 1), (8, 4)))
    assert [home.name for home in homes] == ["n0", "n0", "n1"]
    assert slots(ResourceSpec(gpus_per_worker=1), left, 9) == 3
    assert beside_scoring(ScoringSpec(actors=3), FOUR) == (free_nodes(FOUR), []), "no CPU: anywhere"


REFUSED = {
    "a node": (
        {"cpus_per_worker": 8},
        {},
        FOUR,
        ["needs one worker of 8 CPUs", "4 nodes of 4 CPUs"],
    ),
    "the sum": ({"workers": 5, "cpus_per_worker": 4}, {}, FOUR, ["needs 20 CPUs (5 workers)", "has 16 (", "resources"]),
    "workers": ({"workers": 5, "cpus_per_worker": 3}, {}, FOUR, ["needs 5 workers of 3 CPUs, each on one node"]),
    "GPUs": (
        {"gpus_per_worker": 2},
        {},
        nodes((4, 1), (4, 1)),
        ["one worker of 1 CPUs, 2 GPUs", "2 nodes of 4 CPUs"],
    ),
    "1.5 GPUs": ({"gpus_per_worker": 1.5}, {}, MIXED, ["gpus_per_worker=1.5", "give at most 1, or a whole number"]),
    "scoring": ({}, {"actors": 2, "cpus": 3}, nodes((4, 0), (2, 0)), ["has 0 beside the scoring pool"]),
    "scoring on its node": (
        {"workers": 2, "cpus_per_worker": 3},
        {"actors": 2, "cpus": 1},
        nodes((4, 0), (4, 0)),
        ["needs 2 workers of 3 CPUs", "beside the scoring pool of 2 x 1 CPUs", "scoring)", "lower scoring.actors"],
    ),
    "an actor": ({}, {"cpus": 6}, FOUR, ["the scoring pool needs 1 x 6 CPUs", "lower scoring.actors"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_fits_no_node_is_refused(make_study, case):
    resources, scoring, there, words = REFUSED[case]
    study = make_study(resources=resources, scoring=scoring)
    (problem,) = capacity_problems(study, expand_study(study), there, "the cluster")
    assert all(word in problem for word in words), problem
    with pytest.raises(StudyError):
        check_capacity(study, expand_study(study), there, "the cluster")


def test_what_is_to_blame_is_named(make_study):
    """A run that is too large even alone is not mended by a smaller scoring pool."""
    for resources, scoring, blamed in (
        ({"cpus_per_worker": 8}, {"cpus": 1}, "resources"),
        ({"gpus_per_worker": 1}, {"cpus": 1}, "resources"),
        ({"workers": 4, "cpus_per_worker": 4}, {"cpus": 1}, "scoring"),
        ({}, {"actors": 4, "cpus": 4}, "scoring"),
    ):
        study = make_study(resources=resources, scoring=scoring)
        (problem,) = capacity_problems(study, expand_study(study), FOUR, "the cluster")
        assert f"(study 'tiny', {blamed})" in problem, problem
        assert ("scoring" in problem) == (blamed == "scoring"), problem


def test_each_shape_is_timed_by_the_resource_that_binds(make_study):
    vit = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12], "resources": {"workers": 2, "gpus_per_worker": 1}}
    study = make_study(models=[vit, {"family": "resnet", "depth": 10, "sizes": [2]}], seeds=list(range(10)))
    times = dict.fromkeys(expand_study(study), 10.0)
    gpu, cpu = plan_shapes(study, times, MIXED)
    assert (cpu.slots, cpu.train_s) == (10, 100.0), "28 CPUs, and 10 runs"
    assert (gpu.slots, gpu.train_s) == (2, 100.0), "5 GPUs"
