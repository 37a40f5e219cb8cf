"""The parabola of a cell's losses: closed forms, what is no parabola, and coverage under noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.rates.parabola import WINDOW, fit_parabolas

RATES = np.log(np.geomspace(0.003, 1, 9))
BEST, C = math.log(0.05), 0.11


def losses(rates: np.ndarray = RATES, best: float = BEST, c: float = C, floor: float = 0.4) -> np.ndarray:
    return math.log(floor) + c * (rates - best) ** 2


def test_a_parabola_is_found_again() -> None:
    (found,) = fit_parabolas([(RATES, losses())])
    assert (found.place, found.curved) == ("inside", True)
    assert math.exp(found.log_rate) == pytest.approx(0.05)
    assert found.c == pytest.approx(C)
    assert found.log_loss == pytest.approx(math.log(0.4))
    assert found.cost() == pytest.approx(math.expm1(C * math.log(2) ** 2))
    assert found.loss_at(BEST + math.log(3)) == pytest.approx(0.4 * math.exp(C * math.log(3) ** 2))


def test_the_error_is_that_of_the_delta_method() -> None:
    """Against the derivative of the minimum with respect to each loss, by finite differences."""
    rng = np.random.default_rng(1)
    y = losses() + 0.01 * rng.standard_normal(9)
    (found,) = fit_parabolas([(RATES, y)])
    assert found.noise is not None
    gradient = []
    for i in range(9):
        up = y.copy()
        up[i] += 1e-6
        gradient.append((fit_parabolas([(RATES, up)])[0].log_rate - found.log_rate) / 1e-6)
    assert found.error == pytest.approx(found.noise.sd * np.linalg.norm(gradient), rel=1e-3)


def test_only_trials_near_the_best_count() -> None:
    """Far from it losses are no parabola: those beyond the window may be anything."""
    y = losses()
    far = np.abs(RATES - RATES[np.argmin(y)]) > math.log(WINDOW) * 1.001
    (found,) = fit_parabolas([(RATES, np.where(far, 7.0, y))])
    assert math.exp(found.log_rate) == pytest.approx(0.05)
    assert found.n == 9 - far.sum() == 5


@pytest.mark.parametrize(("best", "place"), [(0.001, "low end"), (3.0, "high end")])
def test_a_best_at_the_end_of_the_range_is_not_used(best: float, place: str) -> None:
    (found,) = fit_parabolas([(RATES, losses(best=math.log(best)))])
    assert (found.place, found.usable, found.rate_interval()) == (place, False, None)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_cut_and_diverged_trials_tell_that_a_rate_was_tried(lost: float) -> None:
    """The best of what was finished is the last one, but larger rates were cut, or diverged: it lies inside."""
    y = losses(best=math.log(0.4))
    y[-1] = lost
    (found,) = fit_parabolas([(RATES, y)])
    assert found.usable
    y[1:] = lost
    assert fit_parabolas([(RATES, y)])[0].place == "low end"


def test_without_a_minimum_next_to_the_best_trial_it_is_the_best_trial() -> None:
    y = np.array([5.0, 5.0, 0.1, 5.0, 0.0, 5.0, 0.1, 5.0, 5.0])  # bends down
    (found,) = fit_parabolas([(RATES, y)])
    assert not found.curved
    assert found.log_rate == RATES[4]
    assert found.error == pytest.approx((RATES[1] - RATES[0]) / math.sqrt(12))
    assert (found.cost(), found.cost_interval()) == (None, None)


def test_two_finished_trials_are_no_parabola_and_none_is_refused() -> None:
    y = np.full(9, np.nan)
    y[3:5] = [0.3, 0.2]
    assert not fit_parabolas([(RATES, y)])[0].curved
    with pytest.raises(ValueError, match="no trial of the cell has a loss"):
        fit_parabolas([(RATES, np.full(9, np.inf))])


def test_noise_is_pooled_over_cells() -> None:
    """A cell of three finished trials has no residuals; the others say how noisy it is."""
    rng = np.random.default_rng(2)
    few = np.where(np.abs(RATES - BEST) < 1.0, losses(), np.nan)
    cells = [(RATES, losses() + 0.02 * rng.standard_normal(9)) for _ in range(12)]
    alone, beside = fit_parabolas([(RATES, few)])[0], fit_parabolas([(RATES, few), *cells])[0]
    assert (alone.noise, alone.error) == (None, None)
    assert beside.noise is not None
    assert beside.noise.sd == pytest.approx(0.02, rel=0.3)
    assert beside.error is not None


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Six cells a family with other best rates, noise of 2 %: rate and cost of a factor 2, 95 % intervals."""
    rng = np.random.default_rng(0)
    rate, cost, n = 0, 0, 0
    for _ in range(200):
        best = rng.uniform(math.log(0.02), math.log(0.2), 6)
        cells = [(RATES, losses(best=b) + 0.02 * rng.standard_normal(9)) for b in best]
        for b, found in zip(best, fit_parabolas(cells), strict=True):
            if found.curved:
                low, high = found.rate_interval() or (0.0, 0.0)
                cost_low, cost_high = found.cost_interval() or (0.0, 0.0)
                rate += low <= math.exp(b) <= high
                cost += cost_low <= math.expm1(C * math.log(2) ** 2) <= cost_high
                n += 1
    assert n > 1000
    assert rate / n == pytest.approx(0.95, abs=0.03)
    assert cost / n == pytest.approx(0.95, abs=0.03)
