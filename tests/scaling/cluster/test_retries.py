"""Scores that failed for the storage's sake: when they are tried again, and how often; a pool without Ray."""

from __future__ import annotations

from collections import deque

import pytest
from ray.exceptions import RayTaskError

from scaling.cluster import actors
from scaling.cluster.actors import ScoringPool
from scaling.cluster.failures import LostWeights
from scaling.cluster.retries import WAITS_S, Checkpoint, Retries
from scaling.errors import StudyError

ONE, TWO = Checkpoint("a", 1, ("x",)), Checkpoint("b", 2, ("x",))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_waits_longer_and_then_fails():
    clock = Clock()
    retries = Retries(clock)
    for wait in WAITS_S:
        assert retries.again(ONE)
        assert len(retries) == 1
        clock.now += wait - 0.1
        assert retries.due() == []
        clock.now += 0.2
        assert retries.due() == [ONE]
        assert len(retries) == 0
    assert not retries.again(ONE)
    assert retries.again(TWO), "each counts for itself"
    assert 45 <= sum(WAITS_S) <= 90


class Actor:
    """Fails with each error in turn, then scores; its 'references' are what they hold."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = deque(errors), 0
        self.score = self

    def remote(self, checkpoint: Checkpoint, shared: object) -> object:
        self.asked += 1
        return (self.asked, RayTaskError("score", "", self.errors.popleft()) if self.errors else [checkpoint.run_id])


@pytest.fixture
def pool(monkeypatch):
    def get(ref):
        if isinstance(ref[1], Exception):
            raise ref[1]
        return ref[1]

    monkeypatch.setattr(actors.ray, "wait", lambda refs, num_returns, timeout: (refs, []))
    monkeypatch.setattr(actors.ray, "get", get)
    monkeypatch.setattr(actors, "time", type("Time", (), {"sleep": staticmethod(lambda seconds: None)}))

    class Reference(tuple):
        __hash__ = object.__hash__

    def start(actor: Actor) -> tuple[ScoringPool, Clock]:
        made, clock = ScoringPool.__new__(ScoringPool), Clock()
        remote = actor.remote
        actor.remote = lambda *words: Reference(remote(*words))
        made._idle, made._waiting, made._running, made._shared = deque([actor]), deque(), {}, None
        made._retries = Retries(clock)
        return made, clock

    return start


def test_a_storage_that_comes_back_costs_no_score(pool):
    actor = Actor(OSError("S3 does not answer"), TimeoutError("S3 does not answer"))
    made, clock = pool(actor)
    made.submit(ONE)
    for wait in WAITS_S[:2]:
        assert list(made.finished()) == []
        assert made.n_open == 1, "drain waits for it"
        clock.now += wait
    (score,) = made.finished()
    assert (score.records, score.error, made.n_open, actor.asked) == (["a"], None, 0, 3)


def test_one_that_stays_away_fails_in_the_end(pool):
    actor = Actor(*[OSError("S3 does not answer")] * 9)
    made, clock = pool(actor)
    made.submit(ONE)
    for wait in WAITS_S:
        assert list(made.finished()) == []
        clock.now += wait
    (score,) = made.finished()
    assert (score.error, score.lost, actor.asked) == ("OSError: S3 does not answer", False, 1 + len(WAITS_S))


@pytest.mark.parametrize("error", [StudyError("no layer"), ZeroDivisionError("x"), LostWeights("epoch 1 is gone")])
def test_other_errors_are_not_tried_again(pool, error):
    made, _ = pool(Actor(error))
    made.submit(ONE)
    (score,) = made.finished()
    assert (str(error) in score.error, score.lost, made.n_open) == (True, isinstance(error, LostWeights), 0)
