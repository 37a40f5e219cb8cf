"""Intervals over subjects and stimuli: they cover, they centre, and of few animals they say so."""

from __future__ import annotations

import numpy as np
import pytest

from scaling.alignment.metrics.unit_draws import centred, speaks_of, subject_draws, two_level_interval

TRUTH, N_DRAWS = 0.4, 200


@pytest.mark.parametrize(("n", "between", "within"), [(4, 0.05, 0.03), (4, 0.02, 0.04), (8, 0.1, 0.02)])
@pytest.mark.parametrize("shared", [False, True])
def test_intervals_of_four_subjects_and_more_cover_the_populations_score(n, between, within, shared):
    rng, hits = np.random.default_rng(0), []
    for sim in range(300):
        size = 1 if shared else n
        raws = TRUTH + between * rng.standard_normal(n) + within * rng.standard_normal(size)
        draws = centred(raws[:, None] + within * rng.standard_normal((size, N_DRAWS)), raws)
        low, high = two_level_interval(subject_draws(draws, sim), n)
        hits.append(low < TRUTH < high)
    assert np.mean(hits) >= 0.9


def test_draws_are_centred_and_paired():
    rng = np.random.default_rng(1)
    raws = rng.standard_normal(6)
    draws = centred(0.3 + raws[:, None] + rng.standard_normal((6, N_DRAWS)), raws)
    np.testing.assert_allclose(draws.mean(axis=1), raws)
    better = subject_draws(draws + 0.1, 5) - subject_draws(draws, 5)
    np.testing.assert_allclose(better, 0.1)


def test_one_or_two_animals_speak_of_themselves():
    draws = np.random.default_rng(2).standard_normal((2, N_DRAWS)) * 0.01 + 0.3
    np.testing.assert_array_equal(subject_draws(draws, 0), draws.mean(axis=0))
    low, high = two_level_interval(subject_draws(draws, 0), 2)
    assert (low, high) == pytest.approx(tuple(np.quantile(draws.mean(axis=0), [0.025, 0.975])))
    assert speaks_of(2, ["N", "F"]) == "stimuli; N and F alone"
    assert speaks_of(1) == "stimuli; this subject alone"
    assert speaks_of(4, ["a"] * 4) == "stimuli and subjects (4)"
    assert speaks_of(None, (), "stimuli and units") == "stimuli and units"
