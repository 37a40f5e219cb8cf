"""RSA against scipy, dense linear algebra and closed forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, rankdata, spearmanr

from scaling.alignment import numerics as arrays
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.rsa import rdm, rsa, upper_triangle, whitened_products
from scaling.alignment.numerics import mean_ranks
from scaling.errors import StudyError

KINDS = ("spearman", "pearson", "whitened")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def covariance(n):
    """V of the dissimilarities, dense: squared elements of C Cᵀ, one row e_i − e_j of C a pair."""
    contrasts = np.zeros((n * (n - 1) // 2, n))
    for row, (i, j) in enumerate(combinations(range(n), 2)):
        contrasts[row, i], contrasts[row, j] = 1, -1
    return (contrasts @ contrasts.T) ** 2


def dense_whitened(a, b, minus_mean=True):
    inverse = np.linalg.inv(covariance(len(a)))
    a, b = (squareform(x, checks=False) for x in (a, b))
    a, b = (x - x.mean() * minus_mean for x in (a, b))
    return a @ inverse @ b / np.sqrt((a @ inverse @ a) * (b @ inverse @ b))


def test_rdm_equals_scipy_correlation_distance(rng):
    for shape in [(12, 30), (30, 12)]:
        x = rng.standard_normal(shape) * 5 + 3
        np.testing.assert_allclose(rdm(x), squareform(pdist(x, "correlation")), atol=1e-12)
        np.testing.assert_array_equal(rdm(Representation.of(x)), rdm(x))


def test_rdm_of_some_of_the_stimuli_is_a_part_of_the_rdm_of_all(rng):
    x, index = rng.standard_normal((20, 50)) + 2, np.array([3, 17, 4, 9])
    np.testing.assert_allclose(rdm(Representation.of(x).take(index)), rdm(x[index]), atol=1e-13)


def test_rdm_flattens_and_ignores_scale_and_offset_of_a_pattern(rng):
    x = rng.standard_normal((6, 3, 4, 2))
    gain, offset = rng.uniform(1, 3, (6, 1)), rng.standard_normal((6, 1))
    np.testing.assert_allclose(rdm(x), rdm(x.reshape(6, -1) * gain + offset), atol=1e-12)


def test_rdm_ignores_a_rotation_that_keeps_the_mean_over_features(rng):
    x = rng.standard_normal((10, 8)) + 1
    basis = np.linalg.qr(np.column_stack([np.ones(8), rng.standard_normal((8, 7))]))[0]
    turn = np.eye(8)
    turn[1:, 1:] = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    rotation = basis @ turn @ basis.T
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(rdm(x @ rotation), rdm(x), atol=1e-12)


def test_rdm_of_orthogonal_and_opposite_patterns():
    x = np.array([[1.0, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1]])
    np.testing.assert_allclose(rdm(x), [[0, 2, 1], [2, 0, 1], [1, 1, 0]], atol=1e-15)


def test_rdm_in_blocks_is_the_same(rng, monkeypatch):
    x = (rng.standard_normal((10, 101)) + 4).astype(np.float32)
    whole = rdm(x)
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", 70)
    np.testing.assert_allclose(rdm(x), whole, atol=1e-12)


def test_a_flat_pattern_is_unrelated_to_all_others(rng):
    x = rng.standard_normal((5, 8))
    x[2] = 0.1
    np.testing.assert_array_equal(rdm(x)[2], [1, 1, 0, 1, 1])


def test_constant_features_without_any_pattern_are_unrelated():
    np.testing.assert_array_equal(rdm(np.full((4, 6), 0.3, np.float32)), 1 - np.eye(4))


def test_upper_triangle_is_in_squareform_order(rng):
    pairs = rng.standard_normal((3, 10))
    square = np.stack([squareform(row) for row in pairs])
    np.testing.assert_array_equal(upper_triangle(square), pairs)


def test_rsa_equals_scipy_spearman_with_ties(rng):
    a, b = (squareform(rng.integers(0, 6, 45).astype(float)) for _ in range(2))
    assert rsa(a, b) == pytest.approx(spearmanr(squareform(a), squareform(b)).statistic, abs=1e-12)


def test_rsa_equals_scipy_pearson(rng):
    a, b = (squareform(rng.uniform(0, 2, 45)) for _ in range(2))
    assert rsa(a, b, kind="pearson") == pytest.approx(pearsonr(squareform(a), squareform(b)).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [3, 4, 5, 12])
def test_whitened_rsa_equals_the_dense_computation(rng, n):
    a, b = (squareform(rng.uniform(0, 2, n * (n - 1) // 2)) for _ in range(2))
    assert rsa(a, b, kind="whitened") == pytest.approx(dense_whitened(a, b), abs=1e-10)
    assert rsa(a, b, kind="whitened_cosine") == pytest.approx(dense_whitened(a, b, minus_mean=False), abs=1e-10)
    inverse, d = np.linalg.inv(covariance(n)), squareform(a)
    assert whitened_products(d, d)[0, 1] == pytest.approx(d @ inverse @ d)


def test_whitening_covariance_is_that_of_squared_distances_between_noise(rng):
    """V up to a factor: equal patterns, independent noise, unbiased distances between two measurements."""
    first, second = rng.standard_normal((2, 4000, 5, 30))
    rows, columns = np.triu_indices(5, k=1)
    distances = np.sum((first[:, rows] - first[:, columns]) * (second[:, rows] - second[:, columns]), axis=2)
    empirical = np.cov(distances.T)
    expected = covariance(5)
    np.testing.assert_allclose(empirical * np.trace(expected) / np.trace(empirical), expected, atol=0.25)


def test_whitened_cosine_of_euclidean_rdms_is_the_cosine_of_centred_kernels(rng):
    """The identity of Diedrichsen et al. 2021: whitened, an RDM compares as its centred second moment."""
    x, y = rng.standard_normal((2, 9, 20))
    y += 0.5 * x
    kernels = [centred @ centred.T for centred in (x - x.mean(axis=0), y - y.mean(axis=0))]
    distances = [squareform(pdist(z, "sqeuclidean")) for z in (x, y)]
    cosine = np.vdot(*kernels) / np.sqrt(np.vdot(kernels[0], kernels[0]) * np.vdot(kernels[1], kernels[1]))
    assert rsa(*distances, kind="whitened_cosine") == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize("values", [[3.0], [2.0, 1.0, 2.0, 2.0], [0.0, -0.0, 1e-300], list(range(9, 0, -1))])
def test_ranks_are_scipys(values, rng):
    many = np.concatenate([values, rng.integers(0, 30, 200).astype(float)])
    assert (mean_ranks(np.array(values)) == rankdata(values)).all()
    assert (mean_ranks(many) == rankdata(many)).all()


def test_rsa_sees_ranks_only(rng):
    a = squareform(rng.uniform(0, 2, 45))
    assert rsa(a, np.exp(3 * a) - 1) == pytest.approx(1.0)
    assert rsa(a, 1e-20 * a) == pytest.approx(1.0)
    assert rsa(a, 2 - a) == pytest.approx(-1.0)


@pytest.mark.parametrize("kind", ["pearson", "whitened"])
def test_linear_kinds_see_neither_scale_nor_offset(rng, kind):
    a, b = (squareform(rng.uniform(0, 2, 45)) for _ in range(2))
    assert rsa(3 * a + 1, b, kind=kind) == pytest.approx(rsa(a, b, kind=kind), abs=1e-12)
    assert rsa(1e-20 * a, b, kind=kind) == pytest.approx(rsa(a, b, kind=kind), abs=1e-12)
    assert rsa(a, a, kind=kind) == pytest.approx(1.0)
    assert rsa(a, 2 - a, kind=kind) == pytest.approx(-1.0)
    assert rsa(a, b, kind=kind) == pytest.approx(rsa(b, a, kind=kind), abs=1e-15)


def test_whitened_cosine_sees_the_offset_but_not_the_scale(rng):
    a, b = (squareform(rng.uniform(0, 2, 45)) for _ in range(2))
    assert rsa(3 * a, b, kind="whitened_cosine") == pytest.approx(rsa(a, b, kind="whitened_cosine"), abs=1e-12)
    assert abs(rsa(a + 1, b, kind="whitened_cosine") - rsa(a, b, kind="whitened_cosine")) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_rsa_of_constant_rdms(rng, kind):
    target, constant = squareform(rng.uniform(0, 2, 45)), 0.1 * (np.ones((10, 10)) - np.eye(10))
    assert rsa(constant, target, kind=kind) == 0.0
    assert np.isnan(rsa(target, constant, kind=kind))
    assert np.isnan(rsa(constant, constant, kind=kind))
    assert rsa(constant * (1 + 1e-15 * target), target, kind=kind) == 0.0


def test_whitened_cosine_of_zero_rdms(rng):
    target, zero = squareform(rng.uniform(0, 2, 45)), np.zeros((10, 10))
    assert rsa(zero, target, kind="whitened_cosine") == 0.0
    assert np.isnan(rsa(target, zero, kind="whitened_cosine"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0, 1000])
def test_identical_patterns_do_not_rank_rounding_errors(rng, kind, offset):
    same = np.tile(rng.standard_normal(500).astype(np.float32), (10, 1)) + np.float32(offset)
    assert rsa(rdm(same), squareform(rng.uniform(0, 2, 45)), kind=kind) == 0.0
    varied = np.concatenate([same[:5], rng.standard_normal((5, 500)).astype(np.float32) + np.float32(offset)])
    assert not rdm(varied)[:5, :5].any()


def test_thousands_of_stimuli_are_whitened_without_their_covariance(rng):
    x = rng.standard_normal((1500, 3))
    distances = squareform(pdist(x, "sqeuclidean"))  # V would have 1.1 million rows
    assert rsa(distances, distances, kind="whitened") == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "expected"), [("whitened", 0.527044277257), ("whitened_cosine", 0.792797905541)])
def test_whitened_rsa_of_monkey_and_human_it_is_that_of_the_rsatoolbox(kriegeskorte_dir, kind, expected):
    """`corr_cov` and `cosine_cov` of rsatoolbox 0.3.2 on the same two RDMs."""
    from scaling.data.recordings.kriegeskorte import load_kriegeskorte

    data = load_kriegeskorte(kriegeskorte_dir)
    assert rsa(data.monkey_it[0], data.human_it.mean(axis=0), kind) == pytest.approx(expected, abs=1e-11)


NAN = np.full((30, 4), 1.0)
NAN[3, 2] = np.nan
BAD_RDM = np.ones((4, 4))
BAD_RDM[1, 2] = np.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rdm(NAN), ["1 of 120", "NaN"]),
        (lambda: rdm(np.ones(5)), ["(5,)", "n_stimuli"]),
        (lambda: rdm(np.ones((2, 5))), ["at least 3"]),
        (lambda: rdm(np.ones((5, 0))), ["(5, 0)"]),
        (lambda: rsa(np.ones((4, 4)), np.ones((5, 5))), ["(4, 4)", "(5, 5)"]),
        (lambda: rsa(np.ones((4, 3)), np.ones((4, 3))), ["square"]),
        (lambda: rsa(np.ones((2, 2)), np.ones((2, 2))), ["3 stimuli"]),
        (lambda: rsa(np.ones((4, 4)), BAD_RDM), ["1 of 16", "target"]),
        (lambda: rsa(np.ones((4, 4)), np.ones((4, 4)), kind="Pearson"), ["'Pearson'", "'pearson'"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
