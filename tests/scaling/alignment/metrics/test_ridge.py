"""Ridge against scikit-learn's Ridge and RidgeCV, and leave-one-out against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from threadpoolctl import threadpool_limits

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.ridge import ALPHAS, ridge_cv_predictions
from scaling.alignment.metrics.splits import StimulusSplit, k_folds, shuffle_splits, split_correlations
from scaling.errors import StudyError

SHAPES = pytest.mark.parametrize("shape", [(50, 8), (50, 40), (50, 300)], ids=["narrow", "square", "wide"])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def planted(rng, n=60, d=20, q=5, noise=0.5):
    x = rng.standard_normal((n, d))
    return x + 2, x @ rng.standard_normal((d, q)) / np.sqrt(d) + noise * rng.standard_normal((n, q)) - 3


def cross_validated(x, y, **settings):
    return ridge_cv_predictions(Representation.of(x), y, k_folds(len(y), 5), **settings)


def fixed(x, y, splits, alpha):
    """One penalty, in scikit-learn's units."""
    return ridge_cv_predictions(Representation.of(x), y, splits, [alpha], relative=False)


def assert_all_close(ours, theirs, atol=1e-8):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@SHAPES
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
def test_fixed_alpha_equals_sklearn(rng, shape, alpha):
    x, y = planted(rng, *shape)
    splits = shuffle_splits(50, 4, 0.8)
    expected = [Ridge(alpha).fit(x[train], y[train]).predict(x[test]) for train, test in splits]
    assert_all_close(fixed(x, y, splits, alpha), expected)


@SHAPES
def test_one_relative_alpha_equals_sklearn(rng, shape):
    x, y = planted(rng, *shape)
    splits, expected = k_folds(50, 5), []
    for train, test in splits:
        alpha = 0.3 * np.sum((x[train] - x[train].mean(axis=0)) ** 2) / len(train)
        expected.append(Ridge(alpha).fit(x[train], y[train]).predict(x[test]))
    assert_all_close(cross_validated(x, y, alphas=[0.3]), expected, atol=1e-9)


@SHAPES
def test_chosen_alphas_are_sklearns(rng, shape):
    x, y = planted(rng, *shape, noise=3.0)
    alphas, splits = np.logspace(-3, 5, 33), k_folds(50, 5)
    models = [RidgeCV(alphas, alpha_per_target=True).fit(x[train], y[train]) for train, _ in splits]
    assert len({alpha for model in models for alpha in model.alpha_}) > 2
    expected = [model.predict(x[test]) for model, (_, test) in zip(models, splits, strict=True)]
    assert_all_close(cross_validated(x, y, alphas=alphas, relative=False), expected)


@SHAPES
def test_relative_alphas_are_in_units_of_the_mean_eigenvalue(rng, shape):
    x, y = planted(rng, *shape, noise=3.0)
    splits, expected = k_folds(50, 5), []
    for train, test in splits:
        scale = np.sum((x[train] - x[train].mean(axis=0)) ** 2) / len(train)
        expected.append(RidgeCV(ALPHAS * scale, alpha_per_target=True).fit(x[train], y[train]).predict(x[test]))
    assert_all_close(cross_validated(x, y), expected)


@pytest.mark.parametrize("d", [6, 30], ids=["narrow", "wide"])
def test_leave_one_out_choice_equals_brute_force(rng, d):
    x, y = planted(rng, 20, d, 1)
    train, test = np.arange(12), np.arange(12, 20)
    alphas, errors = np.array([1e-2, 1.0, 1e2, 1e4]), []
    for alpha in alphas:
        keep = [np.delete(train, i) for i in train]
        fits = [Ridge(alpha).fit(x[k], y[k, 0]) for k in keep]
        errors.append(np.mean([(y[i, 0] - fit.predict(x[i : i + 1])[0]) ** 2 for i, fit in enumerate(fits)]))
    best = Ridge(alphas[np.argmin(errors)]).fit(x[train], y[train]).predict(x[test])
    ours = ridge_cv_predictions(Representation.of(x), y, [StimulusSplit(train, test)], alphas, relative=False)
    np.testing.assert_allclose(ours[0], best.reshape(8, 1), atol=1e-9)


def test_ridge_does_not_see_scale_offset_or_rotation(rng):
    x, y = planted(rng, 50, 12)
    rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    expected = cross_validated(x, y)
    assert_all_close(cross_validated(1e4 * x @ rotation + 7, y), expected, atol=1e-6)
    assert_all_close(cross_validated(x, 10 * y + 5), [10 * part + 5 for part in expected])


def test_neuroids_do_not_see_each_other(rng):
    x, y = planted(rng)
    rep, splits = Representation.of(x), k_folds(60, 5)
    together = ridge_cv_predictions(rep, y, splits)
    assert_all_close([part[:, 1:3] for part in together], ridge_cv_predictions(rep, y[:, 1:3], splits), atol=1e-10)


def test_splits_may_overlap_and_leave_stimuli_out(rng):
    x, y = planted(rng)
    splits = [StimulusSplit(np.arange(40), np.arange(45, 60)), StimulusSplit(np.arange(20, 60), np.arange(3))]
    expected = [Ridge(2.0).fit(x[train], y[train]).predict(x[test]) for train, test in splits]
    assert_all_close(fixed(x, y, splits, 2.0), expected)


def test_a_subset_of_the_stimuli_is_as_good_as_its_own_representation(rng):
    for d in (8, 200):
        x, y = planted(rng, 60, d)
        index = rng.permutation(60)[:40]
        part = ridge_cv_predictions(Representation.of(x).take(index), y[index], k_folds(40, 5))
        assert_all_close(part, cross_validated(x[index], y[index]), atol=1e-9)


@pytest.mark.parametrize("d", [100, 600], ids=["narrow", "wide"])
def test_threads_change_rounding_only(rng, d):
    x, y = planted(rng, 300, d, 40)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(cross_validated(x, y))
    assert_all_close(*found, atol=1e-10)


def test_noiseless_linear_responses_are_predicted(rng):
    x, y = planted(rng, 60, 10, noise=0.0)
    assert split_correlations(cross_validated(x, y), y, k_folds(60, 5)).min() > 0.9999


def test_features_that_predict_nothing_score_zero_on_average(rng):
    scores = []
    for _ in range(40):
        x, y = rng.standard_normal((100, 150)), rng.standard_normal((100, 10))
        scores.append(np.median(split_correlations(cross_validated(x, y), y, k_folds(100, 5))))
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(40)


@pytest.mark.parametrize("d", [7, 200], ids=["narrow", "wide"])
def test_constant_features_predict_the_training_mean(rng, d):
    _, y = planted(rng)
    splits = k_folds(60, 5)
    rounding = (np.float32(0.1) * (1 + 6e-8 * rng.standard_normal((60, d)))).astype(np.float32)
    held_out_only = np.full((60, d), 0.3)
    held_out_only[splits[0].test] = rng.standard_normal((12, d))
    for x in (np.full((60, d), 0.1, np.float32), rounding, held_out_only):
        predicted = ridge_cv_predictions(Representation.of(x), y, splits)[0]
        np.testing.assert_allclose(predicted, np.tile(y[splits[0].train].mean(axis=0), (12, 1)), atol=1e-12)
    r = split_correlations(ridge_cv_predictions(Representation.of(rounding), y, splits), y, splits)
    np.testing.assert_array_equal(r, 0.0)


def test_constant_neuroids_are_predicted_and_have_no_correlation(rng):
    x, y = planted(rng)
    splits = k_folds(60, 5)
    y[:, 1], y[splits[0].test, 0] = 0.1, 0.0
    predictions = cross_validated(x, y)
    assert_all_close([part[:, 1] for part in predictions], [np.full(12, 0.1)] * 5, atol=1e-12)
    missing = np.isnan(split_correlations(predictions, y, splits))
    np.testing.assert_array_equal(missing[:, 1], True)
    np.testing.assert_array_equal(missing[:, 0], [True, False, False, False, False])
    assert not missing[:, 2:].any()


def test_penalties_beyond_rounding_choose_without_dividing_by_zero(rng):
    x, y = planted(rng, 40, 200)
    predictions = cross_validated(x, y, alphas=[1e-30, 1.0, 1e30], relative=False)
    assert all(np.isfinite(part).all() for part in predictions)


def test_more_features_than_memory_would_hold_as_float64_are_blocked(rng):
    x = rng.standard_normal((40, 120_000)).astype(np.float32)
    assert np.isfinite(np.concatenate(cross_validated(x, x[:, :5].astype(float)))).all()


def test_alphas_span_ten_decades():
    assert ALPHAS[0] == pytest.approx(1e-6)
    assert ALPHAS[-1] == pytest.approx(1e4)


NAN = np.ones((30, 4))
NAN[3, 2] = np.nan


def run(x, y, **settings):
    return ridge_cv_predictions(Representation.of(x), y, k_folds(len(y), 5), **settings)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run(np.eye(30), NAN), ["responses", "1 values", "finite"]),
        (lambda: run(np.eye(30), np.ones(30)), ["(30,)", "n_neuroids"]),
        (lambda: run(np.eye(30), np.ones((29, 4))), ["30 stimuli", "29"]),
        (lambda: run(np.eye(30), np.ones((30, 4)), alphas=[1.0, 0.0]), ["[1.0, 0.0]", "above 0"]),
        (lambda: run(np.eye(30), np.ones((30, 4)), alphas=[]), ["[]"]),
        (lambda: run(np.eye(30), np.ones((30, 4)), alphas=np.nan), ["nan"]),
        (lambda: fixed(np.eye(30), np.ones((30, 2)), k_folds(30, 5), -1.0), ["-1.0"]),
        (lambda: fixed(np.eye(30), np.ones((30, 2)), [], 1.0), ["splits: none"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
