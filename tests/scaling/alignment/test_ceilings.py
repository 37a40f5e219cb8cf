"""Ceilings against planted reliability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from scaling.alignment.ceilings import (
    halvings,
    neuroid_ceiling,
    neuroid_ceilings,
    rdm_ceiling,
    spearman_brown,
    split_half_reliability,
)
from scaling.alignment.metrics import pearson
from scaling.errors import StudyError


def recording(n_repetitions, noise, n_stimuli=2000, n_neuroids=20, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n_stimuli, n_neuroids))
    return signal, signal + noise * rng.standard_normal((n_repetitions, n_stimuli, n_neuroids))


def test_spearman_brown_is_the_reliability_of_a_longer_test():
    assert spearman_brown(0.5) == pytest.approx(2 * 0.5 / 1.5)
    # one repetition of signal-to-noise variance s: rel = s/(s+1); k of them: s·k/(s·k+1)
    assert spearman_brown(0.25 / 1.25, 7) == pytest.approx(7 * 0.25 / (7 * 0.25 + 1))


@pytest.mark.parametrize("n_repetitions", [2, 5, 10])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_ceiling_is_the_correlation_of_the_signal_with_the_mean(n_repetitions, noise):
    signal, responses = recording(n_repetitions, noise)
    expected = np.sqrt(1 / (1 + noise**2 / n_repetitions))
    assert neuroid_ceiling(responses) == pytest.approx(expected, abs=0.02)
    reached = np.median(pearson(signal, responses.mean(axis=0)))
    assert neuroid_ceiling(responses) == pytest.approx(reached, abs=0.02)


def test_every_distinct_halving_is_taken_when_they_are_few():
    pairs = list(halvings(4, 100, seed=0))
    assert [(tuple(a), tuple(b)) for a, b in pairs] == [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    assert len(list(halvings(2, 100, seed=0))) == 1


@pytest.mark.parametrize("n", [5, 16, 20])
def test_random_halvings_are_disjoint_equal_and_seeded(n):
    pairs = list(halvings(n, 30, seed=1))
    assert len(pairs) == 30
    assert all(len(a) == len(b) == n // 2 and not set(a) & set(b) for a, b in pairs)
    again = list(halvings(n, 30, seed=1))
    assert all(np.array_equal(p[0], q[0]) for p, q in zip(pairs, again, strict=True))


def test_seeds_agree_to_a_hundredth():
    _, responses = recording(10, 2.0, n_stimuli=150)
    assert np.ptp([neuroid_ceiling(responses, seed=seed) for seed in range(5)]) < 0.01


def test_pure_noise_has_a_ceiling_near_zero_and_a_noiseless_recording_one():
    rng = np.random.default_rng(0)
    reliability = split_half_reliability(rng.standard_normal((6, 1000, 50)), pearson)
    assert np.median(reliability) == pytest.approx(0, abs=0.05)
    _, responses = recording(4, 0.0)
    assert neuroid_ceiling(responses) == pytest.approx(1.0)


def test_constant_and_unreliable_neuroids():
    _, responses = recording(4, 1.0)
    responses[:, :, 0] = 3.0
    responses[:2, :, 1] = -responses[2:, :, 1]  # halves that are opposites
    ceilings = neuroid_ceilings(responses)
    assert np.isnan(ceilings[0])
    assert ceilings[1] < ceilings[2:].min()
    assert np.isnan(neuroid_ceiling(np.ones((4, 30, 3))))


def test_a_neuroid_of_opposite_repetitions_has_ceiling_zero():
    x = np.random.default_rng(0).standard_normal((30, 1))
    assert neuroid_ceilings(np.stack([x, 0.5 - x, x * 2])).shape == (1,)
    assert neuroid_ceiling(np.stack([x, 0.5 - 0.9 * x])) == 0.0


@pytest.mark.parametrize("n_subjects", [4, 16])
def test_rdm_ceiling_is_the_correlation_of_the_true_rdm_with_the_mean(n_subjects):
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(60 * 59 // 2)
    rdms = np.stack([squareform(truth + 1.5 * rng.standard_normal(truth.shape)) for _ in range(n_subjects)])
    expected = np.sqrt(1 / (1 + 1.5**2 / n_subjects))
    assert rdm_ceiling(rdms) == pytest.approx(expected, abs=0.03)


def test_rdm_ceiling_of_constant_rdms_is_undefined():
    assert np.isnan(rdm_ceiling(np.ones((4, 10, 10))))


def test_one_repetition_is_refused():
    with pytest.raises(StudyError, match="1 repetitions cannot be halved; give at least 2"):
        neuroid_ceiling(np.ones((1, 30, 3)))
