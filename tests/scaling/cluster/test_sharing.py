"""How many runs share a GPU: the trial settles where a made-up device's rate ends to grow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scaling.cluster.sharing import GAIN, WARM_S, WINDOW_S, Widening

RATES: dict[str, tuple[Callable[[int], float], int]] = {
    "full with one": (lambda n: 100.0, 1),
    "full with four": (lambda n: 100.0 * min(n, 4), 4),
    "full with three": (lambda n: 100.0 * min(n, 3), 4),
    "always more": (lambda n: 100.0 * n, 16),
    "worse together": (lambda n: 100.0 / n, 1),
    "a little more each": (lambda n: 100.0 * n**0.1, 1),
}


def watch(widening: Widening, rate: Callable[[int], float], began: float, cost: float = 1.0, there: int = 99) -> float:
    """Seconds until it settles, looked at once a second with as many runs as it allows and there are."""
    now, work = began, 0.0
    while not widening.settled and now - began < 1000:
        n = min(widening.width, there)
        widening.observe(n, work, cost, now)
        now, work = now + 1.0, work + rate(n)
    return now - began


@pytest.mark.parametrize("case", RATES)
def test_it_settles_where_the_rate_ends_to_grow(case):
    rate, width = RATES[case]
    widening = Widening()
    assert watch(widening, rate, 0.0) <= 5 * (WARM_S + WINDOW_S + 3)
    assert widening.width == width


def test_it_waits_for_as_many_runs_as_it_allows():
    widening = Widening()
    assert watch(widening, lambda n: 100.0 * n, 0.0, there=3) >= 1000
    assert widening.width == 4, "two were better than one; four there never were"


def test_small_runs_after_large_ones_are_a_new_question():
    widening = Widening()
    taken = watch(widening, lambda n: 100.0, 0.0, cost=10.0)
    assert widening.width == 1
    widening.observe(1, 0.0, 9.0, taken)
    assert widening.settled
    widening.observe(1, 0.0, 1.0, taken)
    assert not widening.settled
    watch(widening, lambda n: 10.0 * min(n, 8), taken, cost=1.0)
    assert widening.width == 8


def test_the_gain_that_is_asked_for_is_of_a_doubling():
    for gain, width in ((GAIN * 1.01, 2), (GAIN * 0.99, 1)):
        widening = Widening()
        watch(widening, lambda n, gain=gain: 100.0 * min(gain, gain ** (n - 1)), 0.0)
        assert widening.width == width
