"""Unbiased linear CKA against the published formula, a sum over quadruples, and independence."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.cka import linear_cka, u_centred
from scaling.errors import StudyError


def unbiased_hsic(first, second):
    """HSIC₁ from U-centred kernels, n(n − 3) times smaller than what CKA is a ratio of."""
    k, m = u_centred(first), u_centred(second)
    return np.vdot(k, m) / (len(k) * (len(k) - 3))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def song_hsic(k, m):
    """Equation 5 of Song et al. 2012, term by term."""
    n, ones = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    trace = np.trace(k @ m)
    sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))


def quadruple_hsic(k, m):
    """The U-statistic it stands for: the mean over ordered quadruples of distinct stimuli."""
    terms = [
        k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q] for i, j, q, r in permutations(range(len(k)), 4)
    ]
    return np.mean(terms)


def direct_cka(x, y):
    k, m = x @ x.T, y @ y.T
    return song_hsic(k, m) / np.sqrt(song_hsic(k, k) * song_hsic(m, m))


def biased_cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    k, m = x @ x.T, y @ y.T
    return np.vdot(k, m) / np.sqrt(np.vdot(k, k) * np.vdot(m, m))


@pytest.mark.parametrize("shape", [(25, 6), (25, 300)], ids=["narrow", "wide"])
def test_cka_equals_the_published_formula_on_uncentred_kernels(rng, shape):
    x = rng.standard_normal(shape) + 2
    y = x[:, :5] @ rng.standard_normal((5, 7)) + rng.standard_normal((25, 7)) - 1
    assert linear_cka(x, y) == pytest.approx(direct_cka(x, y), abs=1e-10)
    assert linear_cka(Representation.of(x), Representation.of(y)) == linear_cka(x, y)


def test_hsic_equals_the_mean_over_quadruples(rng):
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((7, 2)) + 1
    k, m = x @ x.T, y @ y.T
    assert unbiased_hsic(k, m) == pytest.approx(quadruple_hsic(k, m), abs=1e-12)
    assert unbiased_hsic(k, m) == pytest.approx(song_hsic(k, m), abs=1e-12)


def test_hsic_does_not_see_constants_added_to_rows_and_columns_or_the_diagonal(rng):
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    k, m, a = x @ x.T, y @ y.T, rng.standard_normal((12, 1))
    assert unbiased_hsic(k + a + a.T, m) == pytest.approx(unbiased_hsic(k, m), abs=1e-12)
    centred = k - k.mean(axis=0) - k.mean(axis=1, keepdims=True) + k.mean()
    assert unbiased_hsic(centred, m) == pytest.approx(unbiased_hsic(k, m), abs=1e-12)
    assert unbiased_hsic(k + np.diag(a[:, 0]), m) == pytest.approx(unbiased_hsic(k, m), abs=1e-12)


def test_u_centred_rows_sum_to_zero_off_a_zero_diagonal(rng):
    x = rng.standard_normal((9, 4))
    centred = u_centred(x @ x.T + 3)
    np.testing.assert_allclose(centred.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_array_equal(np.diag(centred), 0)


def test_hsic_has_the_population_value_on_average(rng):
    """HSIC of linear kernels is ‖cov(X, Y)‖²; here x and y share one unit with covariance ½."""
    estimates = []
    for _ in range(400):
        x, y = rng.standard_normal((2, 20, 3))
        y[:, 0] = 0.5 * x[:, 0] + np.sqrt(0.75) * y[:, 0]
        estimates.append(unbiased_hsic(x @ x.T, y @ y.T))
    assert np.mean(estimates) == pytest.approx(0.25, abs=4 * np.std(estimates) / 20)


def test_cka_sees_neither_rotation_nor_scale_nor_offset(rng):
    x, y = rng.standard_normal((30, 8)), rng.standard_normal((30, 5))
    y += x[:, :5]
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert linear_cka(1e3 * x @ rotation + 5, y - 2) == pytest.approx(linear_cka(x, y), abs=1e-11)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x), abs=1e-15)
    assert abs(linear_cka(x * np.arange(1, 9), y) - linear_cka(x, y)) > 1e-3


def test_cka_of_a_representation_with_itself_is_one(rng):
    x = rng.standard_normal((30, 200))
    assert linear_cka(x, x) == pytest.approx(1.0, abs=1e-14)


def test_cka_of_some_of_the_stimuli(rng):
    x, y = rng.standard_normal((30, 50)) + 1, rng.standard_normal((30, 4))
    index = np.array([1, 4, 9, 16, 25, 3])
    taken = linear_cka(Representation.of(x).take(index), Representation.of(y).take(index))
    assert taken == pytest.approx(direct_cka(x[index], y[index]), abs=1e-11)


def test_independent_wide_features_score_zero_where_the_biased_estimate_does_not(rng):
    pairs = [(rng.standard_normal((20, 400)), rng.standard_normal((20, 100))) for _ in range(60)]
    unbiased = [linear_cka(x, y) for x, y in pairs]
    assert abs(np.mean(unbiased)) < 4 * np.std(unbiased) / np.sqrt(60)
    assert np.mean([biased_cka(x, y) for x, y in pairs]) > 0.8


def test_constant_representations(rng):
    x, constant = rng.standard_normal((10, 6)), np.full((10, 4), 0.1, np.float32)
    assert linear_cka(constant, x) == 0.0
    assert np.isnan(linear_cka(x, constant))
    assert np.isnan(linear_cka(constant, constant))


def test_stimuli_at_equal_distances_tell_no_pair_from_another(rng):
    x = rng.standard_normal((10, 6))
    assert linear_cka(np.eye(10), x) == 0.0
    assert np.isnan(linear_cka(x, np.eye(10)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linear_cka(np.eye(3), np.eye(3)), ["3 stimuli", "at least 4"]),
        (lambda: linear_cka(np.eye(5), np.eye(6)), ["features of 5", "responses of 6"]),
        (lambda: linear_cka(np.full((5, 2), np.nan), np.eye(5)), ["10 of 10", "NaN"]),
        (lambda: linear_cka(np.ones(5), np.eye(5)), ["(5,)"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
