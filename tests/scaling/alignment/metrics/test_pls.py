"""PLS against scikit-learn's PLSRegression: predictions and iteration counts, primal and dual, and where they part."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import PLSRegression
from threadpoolctl import threadpool_limits

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics import pls
from scaling.alignment.metrics.pls import fit_pls, pls_predictions
from scaling.alignment.metrics.splits import (
    StimulusSplit,
    k_folds,
    shuffle_splits,
    split_correlations,
    stratified_shuffle_splits,
)
from scaling.errors import StudyError


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=["primal", "dual"])
def form(request, monkeypatch):
    """Features as narrow as stimuli go one way or the other; wider ones are always dual."""
    monkeypatch.setattr(pls, "PRIMAL_WIDTH", {"primal": 1.0, "dual": 0.0}[request.param])
    return request.param


def planted(rng, n=80, p=40, q=6, noise=1.0, rank=12):
    """Latent variables of falling variance, mixed into float32 features with noise and an offset, and into neuroids."""
    latent = rng.standard_normal((n, rank)) * np.arange(1.0, rank + 1) ** -0.5
    x = latent @ rng.standard_normal((rank, p)) + 0.5 * rng.standard_normal((n, p)) + 2.0
    return x.astype(np.float32), latent @ rng.standard_normal((rank, q)) + noise * rng.standard_normal((n, q)) - 1.0


def sklearn_fit(x, y, splits, n_components, **settings):
    """Predictions and iteration counts of PLSRegression, a split at a time."""
    x, predictions, n_iter = x.astype(np.float64), [], []
    for train, test in splits:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PLSRegression(n_components, scale=False, **settings).fit(x[train], y[train])
        predictions.append(model.predict(x[test]).reshape(len(test), -1))
        n_iter.append(list(model.n_iter_))
    return predictions, n_iter


def assert_equal_to_sklearn(x, y, splits, n_components, atol=1e-9, **settings):
    fit = fit_pls(Representation.of(x), y, splits, n_components, **settings)
    predictions, n_iter = sklearn_fit(x, y, splits, n_components, **settings)
    assert fit.n_iter == n_iter
    for ours, theirs in zip(fit.predictions, predictions, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(20, 90),
    p=st.integers(5, 120),
    q=st.integers(1, 40),
    n_components=st.integers(1, 12),
    primal=st.booleans(),
)
def test_equals_sklearn_over_random_shapes(seed, n, p, q, n_components, primal):
    x, y = planted(np.random.default_rng(seed), n, p, q)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pls, "PRIMAL_WIDTH", float(primal))
        assert_equal_to_sklearn(x, y, shuffle_splits(n, 3, 0.8, seed), min(n_components, p, int(n * 0.8) - 2))


@pytest.mark.parametrize(
    ("n", "p", "q"),
    [(135, 60, 102), (135, 500, 20), (60, 30, 3), (60, 80, 150), (200, 130, 1)],
    ids=["narrow", "wide", "fewest features", "more neuroids than stimuli", "one neuroid"],
)
def test_equals_sklearn_with_25_components(rng, form, n, p, q):
    x, y = planted(rng, n, p, q)
    assert_equal_to_sklearn(x, y, stratified_shuffle_splits(np.arange(n) % 5, 4, 0.8), 25)


def test_more_neuroids_than_stimuli_in_the_thousands(rng):
    x, y = planted(rng, 50, 70, 3000)
    assert_equal_to_sklearn(x, y, k_folds(50, 2), 10)


@pytest.mark.parametrize(
    "settings", [{"max_iter": 1}, {"max_iter": 16}, {"max_iter": 33}, {"tol": 1e-3}, {"tol": 1e-13}, {"tol": 0.0}]
)
def test_stops_where_sklearn_stops(rng, form, settings):
    x, y = planted(rng)
    assert_equal_to_sklearn(x, y, k_folds(80, 4), 12, **{"max_iter": 60, **settings})


def test_converged_singular_vectors_are_not_the_early_stop(rng):
    x, y = planted(rng, noise=2.0)
    rep, splits = Representation.of(x), k_folds(80, 4)
    early, converged = (fit_pls(rep, y, splits, 12, tol, 100_000) for tol in (1e-6, 1e-20))
    assert np.abs(early.predictions[0] - converged.predictions[0]).max() > 1e-5
    assert sum(converged.n_iter[0]) > sum(early.n_iter[0])


def test_one_component_is_the_closed_form(rng, form):
    x, y = planted(rng, q=1)
    split = k_folds(80, 4)[0]
    x64 = x.astype(np.float64)
    centred, target = x64[split.train] - x64[split.train].mean(axis=0), y[split.train] - y[split.train].mean()
    w = centred.T @ target / np.linalg.norm(centred.T @ target)
    t = centred @ w
    expected = (x64[split.test] - x64[split.train].mean(axis=0)) @ w * (t.T @ target) / (t**2).sum()
    predicted = pls_predictions(Representation.of(x), y, [split], 1)[0]
    np.testing.assert_allclose(predicted, expected + y[split.train].mean(), atol=1e-11)


def test_all_components_are_least_squares(rng, form):
    x, y = planted(rng, 60, 10)
    for split, predicted in zip(
        k_folds(60, 3), pls_predictions(Representation.of(x), y, k_folds(60, 3), 10), strict=True
    ):
        design = np.column_stack([np.ones(60), x])
        weights = np.linalg.lstsq(design[split.train], y[split.train], rcond=None)[0]
        np.testing.assert_allclose(predicted, design[split.test] @ weights, atol=1e-8)


def test_splits_may_overlap_leave_stimuli_out_and_be_small(rng, form):
    x, y = planted(rng)
    order = rng.permutation(80)
    splits = [
        StimulusSplit(order[:30], order[30:35]),
        StimulusSplit(order[10:60], order[70:]),
        StimulusSplit(order[5:], order[:5]),
    ]
    assert_equal_to_sklearn(x, y, splits, 10)


def test_folds_in_groups_bounded_by_memory_are_the_same(rng, form, monkeypatch):
    x, y = planted(rng)
    rep, splits = Representation.of(x), k_folds(80, 5)
    together = fit_pls(rep, y, splits, 10)
    monkeypatch.setattr(pls, "MEMORY_BYTES", 1)
    for_itself = fit_pls(rep, y, splits, 10)
    assert together.n_iter == for_itself.n_iter
    for a, b in zip(together.predictions, for_itself.predictions, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize(("p", "q"), [(150, 120), (700, 120)], ids=["primal", "dual"])
def test_threads_change_rounding_only(rng, p, q):
    x, y = planted(rng, 400, p, q)
    splits, fits = k_folds(400, 4), []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            fits.append(fit_pls(Representation.of(x), y, splits, 15))
    assert fits[0].n_iter == fits[1].n_iter
    for a, b in zip(fits[0].predictions, fits[1].predictions, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


def test_order_of_training_stimuli_and_rotation_of_features_do_not_matter(rng):
    x, y = planted(rng)
    x = x.astype(np.float64)
    (train, test), *_ = k_folds(80, 4)
    rotation = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    expected = fit_pls(Representation.of(x), y, [StimulusSplit(train, test)], 10)
    for other in (
        fit_pls(Representation.of(x), y, [StimulusSplit(rng.permutation(train), test)], 10),
        fit_pls(Representation.of(1e3 * x @ rotation + 5.0), y, [StimulusSplit(train, test)], 10),
    ):
        assert other.n_iter == expected.n_iter
        np.testing.assert_allclose(other.predictions[0], expected.predictions[0], atol=1e-9)


def test_a_subset_of_the_stimuli_is_as_good_as_its_own_representation(rng, form):
    x, y = planted(rng)
    index = rng.permutation(80)[:60]
    part = fit_pls(Representation.of(x).take(index), y[index], k_folds(60, 3), 10)
    alone = fit_pls(Representation.of(x[index]), y[index], k_folds(60, 3), 10)
    assert part.n_iter == alone.n_iter
    for a, b in zip(part.predictions, alone.predictions, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_the_recording_predicts_itself(rng):
    latent = rng.standard_normal((100, 8))
    y = latent @ rng.standard_normal((8, 30)) + 0.01 * rng.standard_normal((100, 30))
    splits = k_folds(100, 5)
    r = split_correlations(pls_predictions(Representation.of(y), y, splits, 8), y, splits)
    assert np.median(r) > 0.999


def test_features_that_predict_nothing_score_zero_on_average(rng):
    splits, scores = shuffle_splits(100, 5, 0.9), []
    for _ in range(25):
        x, y = rng.standard_normal((100, 150)), rng.standard_normal((100, 10))
        scores.append(np.median(split_correlations(pls_predictions(Representation.of(x), y, splits, 5), y, splits)))
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(25)


@pytest.mark.parametrize("q", [4, 100], ids=["few neuroids", "more than stimuli"])
def test_a_constant_first_neuroid_is_not_the_start(rng, form, q):
    x, y = planted(rng, q=q)
    splits = k_folds(80, 4)
    y[:, 0] = 0.0
    y[splits[1].train, 1] = 3.0  # constant in one training part only
    assert_equal_to_sklearn(x, y, splits, 10)


def test_a_neuroid_that_varies_by_rounding_is_constant(rng, form):
    x, y = planted(rng)
    zero, rounding = y.copy(), y.copy()
    zero[:, 0], rounding[:, 0] = 0.0, 1000.1 * (1 + 1e-15 * rng.standard_normal(80))
    rep, splits = Representation.of(x), k_folds(80, 4)
    fits = [fit_pls(rep, responses, splits, 10) for responses in (zero, rounding)]
    assert fits[0].n_iter == fits[1].n_iter
    np.testing.assert_allclose(fits[1].predictions[0][:, 0], 1000.1)
    np.testing.assert_allclose(fits[0].predictions[0][:, 1:], fits[1].predictions[0][:, 1:], atol=1e-10)


def test_constant_responses_are_predicted_without_components(rng, form):
    x, _ = planted(rng)
    y = np.full((80, 3), 2.5)
    assert_equal_to_sklearn(x, y, k_folds(80, 4), 5)
    assert fit_pls(Representation.of(x), y, k_folds(80, 4), 5).n_iter == [[]] * 4


def test_a_residual_used_up_ends_the_fit_as_in_sklearn(rng, form):
    latent = rng.standard_normal((60, 6))
    x, y = latent @ rng.standard_normal((6, 30)), 1e-3 * latent @ rng.standard_normal((6, 3))
    fit = fit_pls(Representation.of(x), y, k_folds(60, 3), 10)
    _, n_iter = sklearn_fit(x, y, k_folds(60, 3), 10)
    assert [len(n) for n in fit.n_iter] == [len(n) for n in n_iter] == [6, 6, 6]
    np.testing.assert_allclose(fit.predictions[0], y[k_folds(60, 3)[0].test], atol=1e-12)


def test_features_whose_rank_is_used_up_end_the_fit_there(rng, form):
    latent = rng.standard_normal((60, 6))
    x, y = latent @ rng.standard_normal((6, 30)), latent[:, :3] + rng.standard_normal((60, 3))
    splits = k_folds(60, 3)
    fit = fit_pls(Representation.of(x), y, splits, 10)
    expected, n_iter = sklearn_fit(x, y, splits, 6)  # with 10 components it goes on to fit rounding errors
    assert fit.n_iter == n_iter
    np.testing.assert_allclose(fit.predictions[0], expected[0], atol=1e-9)


@pytest.mark.parametrize("p", [30, 200], ids=["narrow", "wide"])
def test_constant_features_predict_the_training_mean(rng, p):
    _, y = planted(rng)
    splits = k_folds(80, 4)
    rounding = (np.float32(0.1) * (1 + 6e-8 * rng.standard_normal((80, p)))).astype(np.float32)
    held_out_only = np.zeros((80, p))
    held_out_only[splits[0].test] = rng.standard_normal((len(splits[0].test), p))
    for x in (np.full((80, p), 0.1, np.float32), rounding, held_out_only):
        fit = fit_pls(Representation.of(x), y, splits, 5)
        assert fit.n_iter[0] == []
        np.testing.assert_allclose(fit.predictions[0], np.tile(y[splits[0].train].mean(axis=0), (20, 1)), atol=1e-12)


NAN = np.ones((30, 4))
NAN[3, 2] = np.nan


def run(x, y, n_components=5, splits=None, **settings):
    return fit_pls(Representation.of(x), y, splits or k_folds(len(y), 3), n_components, **settings)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run(np.eye(30), NAN), ["1 values", "finite"]),
        (lambda: run(np.eye(30), np.ones(30)), ["(30,)", "n_neuroids"]),
        (lambda: run(np.eye(30), np.ones((30, 0))), ["(30, 0)", "neuroid"]),
        (lambda: run(np.eye(30), np.ones((29, 2))), ["30 stimuli", "29"]),
        (lambda: run(np.eye(30), np.ones((30, 2)), 25), ["20 training stimuli", "n_components=25"]),
        (lambda: run(np.ones((30, 4)), np.ones((30, 2)), 5), ["4 features", "n_components=5"]),
        (lambda: run(np.eye(30), np.ones((30, 2)), 0), ["n_components=0"]),
        (lambda: run(np.eye(30), np.ones((30, 2)), tol=-1.0), ["tol=-1.0"]),
        (lambda: run(np.eye(30), np.ones((30, 2)), max_iter=0), ["max_iter=0"]),
        (
            lambda: run(np.eye(30), np.ones((30, 2)), splits=[StimulusSplit(np.arange(20), np.arange(0))]),
            ["0 held out"],
        ),
        (
            lambda: run(np.eye(30), np.ones((30, 2)), splits=[StimulusSplit(np.arange(20), np.arange(19, 30))]),
            ["twice"],
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
