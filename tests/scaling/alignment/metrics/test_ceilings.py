"""Ceilings against planted reliability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr
from sklearn.model_selection import ShuffleSplit

from scaling.alignment.metrics import ceilings
from scaling.alignment.metrics.ceilings import (
    ceiled_score,
    halvings,
    intersubject_ceilings,
    nan_pearson,
    neuroid_ceiling,
    neuroid_ceilings,
    rdm_ceiling,
    spearman_brown,
    split_half_ceiling,
    split_half_ceilings,
    split_half_reliability,
)
from scaling.alignment.metrics.rsa import rsa
from scaling.alignment.numerics import pearson
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
    responses[:2, :, 1] = -0.9 * responses[2:, :, 1]  # halves that are nearly opposites
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


def missing(responses, share, seed=3):
    """The recording with some presentations missing, at random, but never a stimulus's first two."""
    gone = np.random.default_rng(seed).random(responses.shape[:2]) < share
    gone[:2] = False
    return np.where(gone[:, :, None], np.nan, responses)


def direct_split_half(responses):
    """StimulusSplit by split and neuroid by neuroid, with scikit-learn's splits and scipy's r."""
    table = []
    for train, test in ShuffleSplit(10, train_size=0.5, random_state=1).split(np.zeros(len(responses))):
        row = []
        for neuroid in range(responses.shape[2]):
            halves = [responses[half, :, neuroid] for half in (train, test)]
            shared = np.flatnonzero(np.all([(~np.isnan(half)).any(axis=0) for half in halves], axis=0))
            means = [[np.mean(half[~np.isnan(half[:, i]), i]) for i in shared] for half in halves]
            varies = min(np.ptp(m) for m in means) > 1e-12
            r = pearsonr(*means).statistic if varies else np.nan
            row.append(2 * r / (1 + r))
        table.append(row)
    return np.array(table)


@pytest.mark.parametrize("n_repetitions", [2, 5, 8])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_split_half_ceilings_equal_a_direct_computation(n_repetitions, share):
    _, responses = recording(n_repetitions, 1.0, n_stimuli=25, n_neuroids=4)
    responses = missing(responses, share)
    responses[:, :, 2] = 0.1
    with np.errstate(all="ignore"):
        expected = direct_split_half(responses)
    np.testing.assert_allclose(split_half_ceilings(responses), expected, rtol=1e-9, atol=1e-10)
    medians = np.nanmedian(expected, axis=1)
    score, error = split_half_ceiling(responses)
    assert score == pytest.approx(medians.mean(), abs=1e-10)
    assert error == pytest.approx(medians.std() / np.sqrt(10), abs=1e-10)


def test_blocks_of_neuroids_and_float32_change_nothing(monkeypatch):
    _, responses = recording(6, 1.0, n_stimuli=40, n_neuroids=7)
    responses = missing(responses, 0.3).astype(np.float32)
    whole, root = split_half_ceilings(responses), neuroid_ceilings(responses)
    np.testing.assert_array_equal(whole, split_half_ceilings(responses.astype(np.float64)))
    monkeypatch.setattr(ceilings, "BLOCK_ELEMENTS", 6 * 40 * 2)
    np.testing.assert_allclose(split_half_ceilings(responses), whole, rtol=1e-13)
    np.testing.assert_allclose(neuroid_ceilings(responses), root, rtol=1e-13)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_split_half_ceiling_is_the_planted_reliability(share):
    _, responses = recording(20, 2.0, n_stimuli=4000, n_neuroids=15)
    n = 20 if share == 0.0 else 1 / np.mean(1 / np.sum(np.isfinite(missing(responses, share)[:, :, 0]), axis=0))
    score, error = split_half_ceiling(missing(responses, share))
    assert score == pytest.approx(1 / (1 + 4.0 / n), abs=0.01)
    assert 0 < error < 0.01
    assert neuroid_ceiling(missing(responses, share)) ** 2 == pytest.approx(score, abs=0.01)


def test_neuroid_ceilings_are_those_of_the_generic_reliability():
    _, responses = recording(5, 1.5, n_stimuli=60, n_neuroids=6)
    expected = np.sqrt(np.maximum(split_half_reliability(responses, pearson), 0))
    np.testing.assert_allclose(neuroid_ceilings(responses), expected, atol=1e-12)


def test_a_neuroid_that_fires_in_one_half_only_shows_no_reliability():
    _, responses = recording(2, 1.0, n_stimuli=30, n_neuroids=2)
    responses[1, :, 0] = 0.0
    assert neuroid_ceilings(responses)[0] == 0.0
    assert np.isnan(split_half_ceilings(responses)[:, 0]).all()
    assert split_half_ceiling(responses).score == pytest.approx(np.median(split_half_ceilings(responses)[:, 1]))


def test_a_recording_that_never_varies_has_no_ceiling():
    score, error = split_half_ceiling(np.full((4, 30, 3), 0.1))
    assert np.isnan(score)
    assert error is None


def test_stimuli_that_only_one_half_has_are_left_out_of_its_correlation():
    _, responses = recording(2, 1.0, n_stimuli=10, n_neuroids=1)
    responses[0, 7:] = np.nan
    r = pearsonr(responses[0, :7, 0], responses[1, :7, 0]).statistic
    np.testing.assert_allclose(split_half_ceilings(responses), 2 * r / (1 + r))
    responses[0, 3:] = np.nan  # r of 3 stimuli is nearly ±1 whatever they are
    assert np.isnan(split_half_ceilings(responses)).all()


def test_nan_pearson_equals_scipy_on_the_shared_stimuli():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3, 40, 5)) + 100
    a[rng.random(a.shape) < 0.2] = np.nan
    b[rng.random(b.shape) < 0.2] = np.nan
    b[1, :, 2] = np.where(np.isnan(b[1, :, 2]), np.nan, 0.1)
    shared = np.isfinite(a) & np.isfinite(b)
    r = nan_pearson(a, b)
    for i, j in np.ndindex(3, 5):
        if (i, j) != (1, 2):
            x, y = (z[i, shared[i, :, j], j] for z in (a, b))
            assert r[i, j] == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
    assert np.isnan(r[1, 2])


@pytest.mark.parametrize("n_subjects", [2, 6])
def test_intersubject_ceilings_of_planted_subjects(n_subjects):
    _, data = recording(n_subjects, 1.5, n_stimuli=20_000, n_neuroids=3)
    lower, upper = intersubject_ceilings(data, pearson)
    v, n = 1.5**2, n_subjects
    assert lower.shape == upper.shape == (n, 3)
    assert lower.mean() == pytest.approx(1 / np.sqrt((1 + v) * (1 + v / (n - 1))), abs=0.01)
    assert upper.mean() == pytest.approx(np.sqrt((1 + v / n) / (1 + v)), abs=0.01)


def test_intersubject_ceilings_equal_a_direct_computation():
    rng = np.random.default_rng(4)
    rdms = np.stack([squareform(rng.uniform(0, 2, 45)) for _ in range(4)])
    lower, upper = intersubject_ceilings(rdms, rsa)
    assert lower == pytest.approx([rsa(rdms[i], np.delete(rdms, i, axis=0).mean(axis=0)) for i in range(4)], abs=1e-12)
    assert upper == pytest.approx([rsa(rdm, rdms.mean(axis=0)) for rdm in rdms], abs=1e-12)
    assert (upper > lower).all()


def test_subjects_who_miss_stimuli():
    _, data = recording(3, 1.0, n_stimuli=30, n_neuroids=2)
    data[0, :10] = np.nan
    data[1, 25:] = np.nan
    lower, _ = intersubject_ceilings(data, nan_pearson)
    others = np.concatenate([data[2, :10], (data[0, 10:] + data[2, 10:]) / 2])[:25]
    assert lower[1] == pytest.approx(pearson(data[1, :25], others), abs=1e-12)


def test_human_it_subjects_predict_one_another(kriegeskorte_dir):
    from scaling.data.recordings.kriegeskorte import load_kriegeskorte

    human = load_kriegeskorte(kriegeskorte_dir).human_it
    lower, upper = intersubject_ceilings(human, rsa)
    assert ((lower > 0) & (lower < upper) & (upper < 1)).all()
    assert lower.mean() < rdm_ceiling(human)


@pytest.mark.parametrize("r", [0.6, -0.6, 0.0])
def test_ceiled_scores_keep_the_sign(r):
    assert ceiled_score(r, 0.8) == pytest.approx(r / 0.8)
    assert ceiled_score(r, 0.8, "r2/c2") == pytest.approx(np.sign(r) * (r / 0.8) ** 2)
    assert ceiled_score(r, 0.8, "r2/c") == pytest.approx(np.sign(r) * r**2 / 0.8)
    assert ceiled_score(r, 0.8, "r2/c") == pytest.approx(ceiled_score(r, 0.8, "r2/c2") * 0.8)


def test_the_perfect_model_is_at_one_in_the_convention_that_fits_its_ceiling():
    signal, responses = recording(10, 2.0, n_stimuli=5000)
    r = np.median(pearson(signal, responses.mean(axis=0)))
    assert ceiled_score(r, neuroid_ceiling(responses), "r/c") == pytest.approx(1, abs=0.02)
    assert ceiled_score(r, split_half_ceiling(responses).score, "r2/c") == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: split_half_ceilings(np.ones((1, 5, 2))), ["1 repetitions", "at least 2"]),
        (lambda: split_half_ceilings(np.ones((4, 5))), ["(4, 5)", "n_neuroids"]),
        (lambda: split_half_ceilings(np.ones((4, 0, 2))), ["(4, 0, 2)"]),
        (lambda: split_half_ceilings(np.full((4, 5, 2), np.inf)), ["40 of 40", "infinite"]),
        (lambda: split_half_ceilings(np.ones((4, 5, 2)), n_splits=0), ["n_splits=0"]),
        (lambda: neuroid_ceilings(np.ones((4, 5))), ["(4, 5)", "n_neuroids"]),
        (lambda: intersubject_ceilings(np.ones((1, 5, 2)), pearson), ["1 subjects", "at least 2"]),
        (lambda: ceiled_score(0.5, 0.0), ["0", "not positive"]),
        (lambda: ceiled_score(0.5, float("nan")), ["nan", "not positive"]),
        (lambda: ceiled_score(0.5, 0.5, "r2"), ["'r2'", "r2/c2"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value


def test_one_repetition_is_refused():
    with pytest.raises(StudyError, match="1 repetitions cannot be halved; give at least 2"):
        neuroid_ceiling(np.ones((1, 30, 3)))
