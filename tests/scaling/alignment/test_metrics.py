"""Metrics against scikit-learn, scipy, closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import Ridge, RidgeCV

from scaling.alignment import metrics
from scaling.alignment.metrics import (
    ALPHAS,
    centred_kernel,
    fold_indices,
    pearson,
    rdm,
    ridge_correlations,
    ridge_cv_predict,
    ridge_score,
    rsa,
    upper_triangle,
)
from scaling.errors import StudyError


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def planted(rng, n=60, d=20, q=5, noise=0.5):
    x = rng.standard_normal((n, d))
    return x, x @ rng.standard_normal((d, q)) / np.sqrt(d) + noise * rng.standard_normal((n, q))


def test_rdm_equals_scipy_correlation_distance(rng):
    x = rng.standard_normal((12, 30)) * 5 + 3
    np.testing.assert_allclose(rdm(x), squareform(pdist(x, "correlation")), atol=1e-12)


def test_rdm_flattens_and_ignores_scale_and_offset_of_a_pattern(rng):
    x = rng.standard_normal((6, 3, 4, 2))
    gain, offset = rng.uniform(1, 3, (6, 1)), rng.standard_normal((6, 1))
    np.testing.assert_allclose(rdm(x), rdm(x.reshape(6, -1) * gain + offset), atol=1e-12)


def test_rdm_of_orthogonal_and_opposite_patterns():
    x = np.array([[1.0, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1]])
    np.testing.assert_allclose(rdm(x), [[0, 2, 1], [2, 0, 1], [1, 1, 0]], atol=1e-15)


def test_rdm_in_blocks_is_the_same(rng, monkeypatch):
    x = (rng.standard_normal((10, 101)) + 4).astype(np.float32)
    whole, kernel = rdm(x), centred_kernel(x)
    monkeypatch.setattr(metrics, "_BLOCK_ELEMENTS", 70)
    np.testing.assert_allclose(rdm(x), whole, atol=1e-12)
    np.testing.assert_allclose(centred_kernel(x), kernel, rtol=1e-10, atol=1e-10)


def test_a_flat_pattern_is_unrelated_to_all_others(rng):
    x = rng.standard_normal((5, 8))
    x[2] = 0.1
    d = rdm(x)
    np.testing.assert_array_equal(d[2], [1, 1, 0, 1, 1])


def test_upper_triangle_is_in_squareform_order(rng):
    pairs = rng.standard_normal((3, 10))
    square = np.stack([squareform(row) for row in pairs])
    np.testing.assert_array_equal(upper_triangle(square), pairs)


def test_rsa_equals_scipy_spearman_with_ties(rng):
    a, b = (squareform(rng.integers(0, 6, 45).astype(float)) for _ in range(2))
    assert rsa(a, b) == pytest.approx(spearmanr(squareform(a), squareform(b)).statistic, abs=1e-12)


def test_rsa_sees_ranks_only(rng):
    a = squareform(rng.uniform(0, 2, 45))
    assert rsa(a, np.exp(3 * a) - 1) == pytest.approx(1.0)
    assert rsa(a, 1e-20 * a) == pytest.approx(1.0)
    assert rsa(a, 2 - a) == pytest.approx(-1.0)


def test_rsa_of_constant_rdms(rng):
    target, constant = squareform(rng.uniform(0, 2, 45)), np.ones((10, 10)) - np.eye(10)
    assert rsa(constant, target) == 0.0
    assert np.isnan(rsa(target, constant))


def test_identical_patterns_do_not_rank_rounding_errors(rng):
    same = np.tile(rng.standard_normal(500).astype(np.float32), (10, 1))
    assert rsa(rdm(same), squareform(rng.uniform(0, 2, 45))) == 0.0


def test_pearson_equals_scipy_and_marks_constants(rng):
    a, b = rng.standard_normal((2, 30, 4)) + 1e3
    a[:, 2], b[:, 3] = 0.1, 0.1
    r = pearson(a, b)
    assert r[:2] == pytest.approx([pearsonr(a[:, i], b[:, i]).statistic for i in (0, 1)])
    assert r[2] == 0.0
    assert np.isnan(r[3])


def test_folds_are_a_seeded_partition():
    folds = fold_indices(23, 5, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(23))
    assert {len(fold) for fold in folds} == {4, 5}
    assert all(np.array_equal(a, b) for a, b in zip(folds, fold_indices(23, 5, seed=3), strict=True))
    assert not np.array_equal(folds[0], fold_indices(23, 5, seed=4)[0])


@pytest.mark.parametrize("shape", [(40, 6), (40, 200)], ids=["narrow", "wide"])
def test_ridge_with_one_alpha_equals_sklearn(rng, shape):
    x, y = planted(rng, *shape)
    x, y = x + 2, y - 3
    predicted = ridge_cv_predict(x, y, seed=1, alphas=[0.3])
    for test in fold_indices(len(x), 5, seed=1):
        train = np.setdiff1d(np.arange(len(x)), test)
        centred = x[train] - x[train].mean(axis=0)
        alpha = 0.3 * np.sum(centred**2) / len(train)  # relative to the mean eigenvalue of the kernel
        expected = Ridge(alpha=alpha).fit(x[train], y[train]).predict(x[test])
        np.testing.assert_allclose(predicted[test], expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(50, 8), (50, 300)], ids=["narrow", "wide"])
def test_ridge_chooses_alpha_as_sklearn_ridgecv_does(rng, shape):
    x, y = planted(rng, *shape, noise=1.0)
    alphas = np.logspace(-3, 3, 13)
    predicted = ridge_cv_predict(x, y, seed=2, alphas=alphas)
    for test in fold_indices(len(x), 5, seed=2):
        train = np.setdiff1d(np.arange(len(x)), test)
        scale = np.sum((x[train] - x[train].mean(axis=0)) ** 2) / len(train)
        model = RidgeCV(alphas=alphas * scale, alpha_per_target=True).fit(x[train], y[train])
        np.testing.assert_allclose(predicted[test], model.predict(x[test]), atol=1e-8)


def test_leave_one_out_choice_equals_brute_force(rng):
    x, y = planted(rng, 12, 30, 1)
    alphas = np.array([1e-2, 1.0, 1e2])
    scale = np.sum((x - x.mean(axis=0)) ** 2) / len(x)
    errors = []
    for alpha in alphas * scale:
        keep = [np.delete(np.arange(len(x)), i) for i in range(len(x))]
        fits = [Ridge(alpha=alpha).fit(x[k], y[k, 0]) for k in keep]
        errors.append(np.mean([(y[i, 0] - fit.predict(x[i : i + 1])[0]) ** 2 for i, fit in enumerate(fits)]))
    best = Ridge(alpha=alphas[np.argmin(errors)] * scale).fit(x, y)
    centred = x - x.mean(axis=0)
    weights = metrics._dual_weights(centred @ centred.T, y - y.mean(axis=0), alphas * scale)
    np.testing.assert_allclose((centred.T @ weights).ravel(), np.ravel(best.coef_), atol=1e-9)


def test_ridge_does_not_see_scale_offset_or_rotation(rng):
    x, y = planted(rng, 50, 12)
    rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    expected = ridge_cv_predict(x, y)
    np.testing.assert_allclose(ridge_cv_predict(1e4 * x @ rotation + 7, y), expected, atol=1e-6)
    np.testing.assert_allclose(ridge_cv_predict(x, 10 * y + 5), 10 * expected + 5, atol=1e-8)


def test_ridge_score_is_the_median_of_the_fold_means(rng):
    x, y = planted(rng)
    predicted = ridge_cv_predict(x, y)
    folds = fold_indices(len(x), 5, seed=0)
    r = [[pearsonr(predicted[f, j], y[f, j]).statistic for f in folds] for j in range(y.shape[1])]
    assert ridge_score(x, y) == pytest.approx(np.median(np.mean(r, axis=1)), abs=1e-12)
    assert ridge_correlations(x, y) == pytest.approx(np.mean(r, axis=1), abs=1e-12)


def test_noiseless_linear_responses_are_predicted(rng):
    x, y = planted(rng, 60, 10, noise=0.0)
    assert ridge_score(x, y) > 0.9999


def test_features_that_predict_nothing_score_zero_on_average(rng):
    scores = [ridge_score(rng.standard_normal((100, 150)), rng.standard_normal((100, 10))) for _ in range(40)]
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(40)


def test_degenerate_ridge_inputs(rng):
    x, y = planted(rng)
    y[:, 1] = 0.1
    r = ridge_correlations(x, y)
    assert np.isnan(r[1])
    assert np.isfinite(np.delete(r, 1)).all()
    assert ridge_score(x, y) == pytest.approx(np.median(np.delete(r, 1)))
    assert np.isnan(ridge_score(x, np.ones_like(y)))
    assert ridge_score(np.full((60, 7), 0.1, np.float32), y) == 0.0
    rounding = np.float32(0.1) * (1 + 6e-8 * rng.standard_normal((60, 7)))
    assert ridge_score(rounding.astype(np.float32), y) == 0.0


def test_a_neuroid_silent_in_one_fold_counts_in_the_others(rng):
    x, y = planted(rng)
    y[fold_indices(60, 5, seed=0)[0], 0] = 0.0
    assert np.isfinite(ridge_correlations(x, y)[0])


def test_more_features_than_memory_would_hold_as_float64_are_blocked(rng):
    x = rng.standard_normal((40, 120_000)).astype(np.float32)
    assert np.isfinite(ridge_score(x, x[:, :5].astype(float)))


NAN = np.full((30, 4), 1.0)
NAN[3, 2] = np.nan


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rdm(NAN), ["1 of 120", "NaN"]),
        (lambda: rdm(np.ones(5)), ["(5,)", "n_stimuli"]),
        (lambda: rdm(np.ones((2, 5))), ["at least 3"]),
        (lambda: rdm(np.ones((5, 0))), ["(5, 0)"]),
        (lambda: rsa(np.ones((4, 4)), np.ones((5, 5))), ["(4, 4)", "(5, 5)"]),
        (lambda: rsa(np.ones((4, 3)), np.ones((4, 3))), ["square"]),
        (lambda: ridge_score(np.ones((30, 4)), NAN), ["responses", "finite"]),
        (lambda: ridge_score(np.full((30, 4), np.inf), np.ones((30, 4))), ["120 of 120", "infinite"]),
        (lambda: ridge_score(np.ones((30, 4)), np.ones((29, 4))), ["30", "29"]),
        (lambda: ridge_score(np.ones((30, 4)), np.ones(30)), ["(30,)", "n_neuroids"]),
        (lambda: ridge_score(np.ones((19, 4)), np.ones((19, 4))), ["19", "n_folds=5", "4 stimuli"]),
        (lambda: fold_indices(30, 1, 0), ["n_folds=1"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value


def test_alphas_span_ten_decades():
    assert ALPHAS[0] == pytest.approx(1e-6)
    assert ALPHAS[-1] == pytest.approx(1e4)
