"""The course: order of runs, looks at prefixes of it, the end; the same whatever arrives when."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

import pandas as pd
import pytest

from analysis import ScalingTable
from analysis.stopping import course as module
from analysis.stopping.course import AHEAD, STAYS, Course
from analysis.stopping.delta import Candidate
from analysis.stopping.rule import Known, Look, StopRule

RULE = StopRule("IT", 1e18, 2.0, {"resnet": True}, round=2)


def grid(n: int = 12) -> list[Candidate]:
    return [Candidate(f"r{i}", "resnet", f"c{i}", 1e5 + i, 1e4 + i, float((7 * i) % n + 1)) for i in range(n)]


def scripted(monkeypatch: pytest.MonkeyPatch, within: Sequence[bool]) -> list[int]:
    """Looks that say what is asked of them; the numbers of runs that were looked at."""
    seen: list[int] = []

    def look(frame: object, rule: StopRule, n_runs: int) -> Look:
        seen.append(n_runs)
        holds = within[len(seen) - 1]
        return Look(n_runs, (Known("resnet", "N", within=holds),))

    monkeypatch.setattr(module, "look_at", look)
    return seen


def nothing(ids: Collection[str]) -> pd.DataFrame | None:
    return None


@pytest.mark.parametrize("within", [[*map(int, f"{bits:06b}")] for bits in range(64)])
def test_the_end_is_the_first_look_that_stays(within: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [bool(hold) for hold in within])
    course = Course(RULE, grid(), lambda ids: pd.DataFrame({"n": [len(ids)]}))
    course.advance(lambda run_id: True)
    ends = [i for i in range(STAYS, 6) if all(within[i - STAYS : i + 1])]
    assert course.enough == bool(ends)
    assert seen == [2 * (i + 1) for i in range((ends[0] if ends else 5) + 1)]
    cheapest = sorted(grid(), key=lambda c: c.flops)
    if course.enough:
        assert course.beyond() == cheapest[seen[-1] :]
        assert course.may_start(9) == []


def test_looks_wait_for_all_runs_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [False] * 6)
    course = Course(RULE, grid(), lambda ids: pd.DataFrame({"n": [len(ids)]}))
    order = [c.run_id for c in sorted(grid(), key=lambda c: c.flops)]
    done = {*order[:1], *order[2:9]}  # the second cheapest goes on
    course.advance(done.__contains__)
    assert seen == []
    assert course.may_start() == order[: AHEAD * 2], "no more than two rounds ahead"
    assert course.may_start(7) == order[:7], "but every slot"
    done.add(order[1])
    course.advance(done.__contains__)
    assert seen == [2, 4, 6, 8]
    assert course.may_start() == order[: 8 + AHEAD * 2]


def test_equal_costs_keep_the_grids_order() -> None:
    runs = [Candidate(f"r{i}", "resnet", "c", 1e5, 1e4, 1.0) for i in range(5)]
    assert Course(RULE, runs, nothing).may_start(5) == [f"r{i}" for i in range(5)]


@pytest.fixture(scope="module")
def planted(plant: Callable[..., ScalingTable]) -> pd.DataFrame:
    table = plant("chinchilla", n=5, noise=0.01, seed=1).frame
    words = {"run_id": [f"{i:03}" for i in range(len(table))], "family": "resnet", "benchmark": "x.IT", "region": "IT"}
    return table.assign(**words, accuracy=0.5)


def candidates(frame: pd.DataFrame) -> list[Candidate]:
    return [
        Candidate(row.run_id, "resnet", row.run_id, row.n_params, row.samples_seen, row.flops)
        for row in frame.itertuples()
    ]


def frame_of(frame: pd.DataFrame, shuffle: int = 0) -> Callable[[Collection[str]], pd.DataFrame]:
    """Rows of some runs, in the order in which they happened to arrive."""
    shuffled = frame.sample(frac=1, random_state=shuffle)
    return lambda ids: shuffled[shuffled.run_id.isin(list(ids))]


@pytest.mark.parametrize("order", ["cheapest", "informative"])
def test_a_restarted_driver_decides_alike(planted: pd.DataFrame, order: str) -> None:
    """Runs end one by one, in any order, under a driver that lives on, or anew after each; the course is one."""
    rule = StopRule("IT", 1e16, 8.0, {"resnet": True}, order, round=3, run_flops=1e12)  # type: ignore[arg-type]
    whole = Course(rule, candidates(planted), frame_of(planted))
    whole.advance(lambda run_id: True)
    assert whole.enough
    assert whole.n_looked < len(planted)
    rng, memo, done = random.Random(1), {}, set[str]()
    lives = Course(rule, candidates(planted), frame_of(planted, 1), memo)
    while not lives.enough:
        anew = Course(rule, candidates(planted), frame_of(planted, len(done)), memo)
        anew.advance(done.__contains__)
        lives.advance(done.__contains__)
        assert anew.may_start(2) == lives.may_start(2)
        done.add(rng.choice([run_id for run_id in lives.may_start(2) if run_id not in done]))
        lives.advance(done.__contains__)
    assert [(look.n_runs, look.known) for look in lives.looks] == [(look.n_runs, look.known) for look in whole.looks]
    assert lives.beyond() == whole.beyond()
    assert {c.run_id for c in whole.beyond()} | {c.run_id for c in whole.sequence[: whole.n_looked]} == set(
        planted.run_id
    )
    assert f"within a factor of 8 in 3 looks, 3 runs apart, from {whole.n_looked} of 25 runs" in whole.text()


def test_informative_leaves_no_asked_family_in_the_dark(planted: pd.DataFrame) -> None:
    """The law of the cheap family is not refined for ever while nothing is known of the dear one."""
    dear = planted.assign(family="vit", run_id="v" + planted.run_id, flops=planted.flops * 1e4)
    both = pd.concat([planted, dear], ignore_index=True)
    runs = [
        Candidate(row.run_id, row.family, row.run_id, row.n_params, row.samples_seen, row.flops)
        for row in both.itertuples()
    ]
    rule = StopRule("IT", 1e18, 1.5, {"resnet": True, "vit": True}, "informative", round=4)
    course = Course(rule, runs, frame_of(both))
    while len(course.sequence) < 20:
        n = len(course.sequence)
        course.advance({c.run_id for c in course.sequence}.__contains__)
        assert len(course.sequence) > n
    assert any(c.family == "vit" for c in course.sequence[:20])


def test_runs_without_a_score_count_as_looked_at(planted: pd.DataFrame) -> None:
    rule = StopRule("IT", 1e16, 8.0, {"resnet": True}, round=3)
    course = Course(rule, candidates(planted), lambda ids: None)
    course.advance(lambda run_id: True)
    assert not course.enough
    assert len(course.looks) == 8
    assert course.may_start() == [c.run_id for c in sorted(candidates(planted), key=lambda c: c.flops)]
