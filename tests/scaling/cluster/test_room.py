"""Room for the next run, as nodes and runs come and go; and how long a queue takes, by hand and by brute force."""

from __future__ import annotations

import random
from itertools import permutations, product

import pytest

from scaling.cluster.makespan import makespan
from scaling.cluster.placement import Node, free_nodes, place, run_needs
from scaling.cluster.room import LOOK_S, Room
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec
from scaling.study import expand_study

NO_SCORING = ScoringSpec(cpus=0)


def shape(**fields):
    return ResourceSpec(**fields)


@pytest.fixture
def run_of(make_run):
    """Runs of a shape, each with an id of its own."""
    seeds = iter(range(10_000))
    return lambda **fields: make_run(seeds=[next(seeds)]).model_copy(update={"resources": shape(**fields)})


def room_on(*nodes, scoring=NO_SCORING, **options):
    return Room(lambda: nodes, scoring, **options)


def test_a_run_takes_its_places_and_gives_them_back(run_of):
    room = room_on(Node("a", 4, 1), Node("b", 3))
    gang, half = run_of(workers=2, cpus_per_worker=2), run_of(gpus_per_worker=0.5)
    assert room.fits(gang.resources)
    room.take(gang)
    assert room.fits(half.resources)
    room.take(half)
    assert not room.fits(shape(cpus_per_worker=2, gpus_per_worker=1)), "half of the GPU is taken"
    assert not room.fits(gang.resources), "three CPUs and one: one process of two"
    room.leave(half.run_id)
    room.leave(half.run_id)
    assert room.fits(shape(cpus_per_worker=2, gpus_per_worker=1))
    room.leave(gang.run_id)
    assert room.fits(shape(cpus_per_worker=4))


def test_scoring_keeps_its_place(run_of):
    room = room_on(Node("a", 2), scoring=ScoringSpec(actors=1, cpus=1))
    room.take(run_of())
    assert not room.fits(shape())


def test_where_nothing_goes_on_any_shape_waits_for_its_node(run_of):
    room = room_on(Node("a", 2))
    assert room.fits(shape(gpus_per_worker=8))
    room.take(run_of(gpus_per_worker=8))
    assert not room.fits(shape()), "what waits comes first"


def test_a_number_that_was_asked_for_counts_whatever_the_nodes(run_of):
    room = room_on(Node("a", 1), at_most=2)
    runs = [run_of() for _ in range(2)]
    for run in runs:
        assert room.fits(run.resources)
        room.take(run)
    assert not room.fits(shape())
    room.leave(runs[0].run_id)
    assert room.fits(shape())


def test_a_node_that_joins_is_used_and_one_that_leaves_is_not(run_of):
    nodes, now = [Node("a", 1)], [0.0]
    room = Room(lambda: tuple(nodes), NO_SCORING, clock=lambda: now[0])
    first, second = run_of(), run_of()
    room.take(first)
    nodes.append(Node("b", 1))
    assert not room.fits(shape()), "looked at a moment ago"
    now[0] = LOOK_S
    assert room.fits(shape())
    room.take(second)
    nodes.pop(0)
    now[0] += LOOK_S
    assert not room.fits(shape())
    room.leave(second.run_id)
    assert not room.fits(shape()), "the place is that of the run which lost its node"
    room.leave(first.run_id)
    assert room.fits(shape())


def test_an_elastic_run_begins_when_all_its_workers_have_room(run_of):
    room = room_on(Node("a", 4))
    elastic = run_of(workers=[2, 8])
    room.take(elastic)
    assert not room.fits(shape()), "four of eight workers fill the node"
    room.leave(elastic.run_id)
    room.take(run_of())
    assert not room.fits(elastic.resources)


@pytest.mark.parametrize("seed", range(20))
def test_random_packings_hold_no_more_than_the_nodes_and_end(run_of, seed):
    """Gangs of many sizes and shares: what goes on fits by `place`, and every run gets its turn."""
    rng = random.Random(seed)
    nodes = [Node(f"n{i}", rng.randint(1, 8), rng.choice([0, 0, 1, 4])) for i in range(rng.randint(1, 5))]
    wanted = [
        run_of(
            workers=rng.choice([1, 1, 2, 3]),
            cpus_per_worker=rng.randint(1, 3),
            gpus_per_worker=rng.choice([0, 0, 0.25, 1, 2]),
        )
        for _ in range(40)
    ]
    fits_alone = [run for run in wanted if place(run_needs(run.resources), free_nodes(nodes)) is not None]
    room, going, left = room_on(*nodes), [], list(fits_alone)
    while left or going:
        started = next((run for run in left if room.fits(run.resources)), None)
        if started is not None and rng.random() < 0.8:
            room.take(started)
            left.remove(started)
            going.append(started)
            by_size = sorted(going, key=lambda run: -max(run.resources.gpus, run.resources.cpus_per_worker / 9))
            cpus = sum(need.cpus for run in by_size for need in run_needs(run.resources))
            gpus = sum(need.gpus for run in by_size for need in run_needs(run.resources))
            assert cpus <= sum(node.cpus for node in nodes)
            assert gpus <= sum(node.gpus for node in nodes)
        elif going:
            room.leave(going.pop(rng.randrange(len(going))).run_id)
        else:
            assert started is not None, "nothing goes on, and a run that fits alone is not offered"
    assert all(free == empty for free, empty in zip(room._free.values(), free_nodes(nodes), strict=True)), "all is back"


def test_a_queue_takes_as_long_as_by_hand(make_study):
    runs = expand_study(make_study(data_sizes=[2, 3, 4, 5, 6]))
    seconds = dict(zip(runs, (3.0, 3.0, 2.0, 2.0, 2.0), strict=True))
    assert makespan(seconds, room_on(Node("a", 2))) == 7.0, "3 + 2 + 2 beside 3 + 2: LPT's classical miss of 6"
    assert makespan(seconds, room_on(Node("a", 9))) == 3.0
    assert makespan({}, room_on(Node("a", 2))) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_longest_first_is_within_grahams_bound_of_the_best(make_study, seed):
    """At most 4/3 - 1/(3m) of the optimum on m slots (Graham 1969), the optimum by trying all assignments."""
    rng = random.Random(seed)
    runs = expand_study(make_study(data_sizes=[2, 3, 4, 5, 6, 7]))
    seconds = {run: float(rng.randint(1, 9)) for run in runs}
    best = min(
        max(sum(s for s, slot in zip(seconds.values(), slots, strict=True) if slot == i) for i in range(2))
        for slots in product(range(2), repeat=len(runs))
    )
    found = makespan(seconds, room_on(Node("a", 2)))
    assert best <= found <= (4 / 3 - 1 / 6) * best


def test_shapes_share_the_cluster_where_turns_would_not(make_study):
    """A gang of two beside single runs on three slots: together 10 s, one shape after the other 15 s."""
    single = expand_study(make_study(data_sizes=[2, 3]))
    gang = expand_study(make_study(resources={"workers": 2}, data_sizes=[4]))
    seconds = {gang[0]: 10.0, single[0]: 5.0, single[1]: 5.0}
    for order in permutations(seconds):
        assert makespan({run: seconds[run] for run in order}, room_on(Node("a", 3))) == 10.0
