"""Splits against scikit-learn's, correlations within a split against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from scaling.alignment.metrics.splits import (
    StimulusSplit,
    check_splits,
    k_folds,
    shuffle_splits,
    split_correlations,
    stratified_shuffle_splits,
)
from scaling.errors import StudyError


def indices(*values):
    return np.array(values, dtype=np.intp)


def test_folds_are_a_seeded_partition():
    folds = k_folds(23, 5, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(23))
    assert {len(fold.test) for fold in folds} == {4, 5}
    for fold, again in zip(folds, k_folds(23, 5, seed=3), strict=True):
        np.testing.assert_array_equal(np.sort(np.concatenate(fold)), np.arange(23))
        np.testing.assert_array_equal(fold.train, again.train)
    assert not np.array_equal(folds[0].test, k_folds(23, 5, seed=4)[0].test)


def test_folds_cut_the_seeded_permutation():
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(k_folds(20, 5, seed=0)[1].test, np.sort(order[4:8]))


@pytest.mark.parametrize("labels", [np.arange(135) % 9, np.array(["face", "car", "tree"])[np.arange(135) % 3]])
@pytest.mark.parametrize(("n_splits", "train_size", "seed"), [(10, 0.9, 1), (3, 0.5, 7)])
def test_stratified_splits_are_sklearns(labels, n_splits, train_size, seed):
    ours = stratified_shuffle_splits(labels, n_splits, train_size, seed)
    theirs = StratifiedShuffleSplit(n_splits, train_size=train_size, random_state=seed).split(labels, labels)
    for split, (train, test) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.test, test)


def test_stratified_defaults_are_brain_scores():
    labels = np.repeat(np.arange(8), 40)
    theirs = StratifiedShuffleSplit(n_splits=10, train_size=0.9, random_state=1).split(labels, labels)
    for split, (train, test) in zip(stratified_shuffle_splits(labels), theirs, strict=True):
        np.testing.assert_array_equal(np.concatenate(split), np.concatenate([train, test]))
        assert np.all(np.bincount(labels[split.test]) == 4)


def test_shuffle_splits_are_sklearns():
    theirs = ShuffleSplit(4, train_size=0.7, random_state=5).split(np.zeros(33))
    for split, (train, test) in zip(shuffle_splits(33, 4, 0.7, seed=5), theirs, strict=True):
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.test, test)


def test_correlations_are_scipys_split_by_split():
    rng = np.random.default_rng(0)
    y, splits = rng.standard_normal((30, 3)), k_folds(30, 3)
    predictions = [rng.standard_normal((10, 3)) for _ in splits]
    r = split_correlations(predictions, y, splits)
    expected = [[pearsonr(p[:, j], y[s.test, j]).statistic for j in range(3)] for p, s in zip(predictions, splits)]  # noqa: B905
    np.testing.assert_allclose(r, expected, atol=1e-12)


def test_a_neuroid_constant_in_one_split_has_no_correlation_there():
    rng = np.random.default_rng(0)
    y, splits = rng.standard_normal((30, 2)), k_folds(30, 3)
    y[splits[1].test, 0] = 0.1
    predictions = [rng.standard_normal((10, 2)) for _ in splits]
    predictions[2][:, 1] = 5.0
    r = split_correlations(predictions, y, splits)
    np.testing.assert_array_equal(np.isnan(r), [[False, False], [True, False], [False, False]])
    assert r[2, 1] == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: k_folds(30, 1), ["n_folds=1"]),
        (lambda: k_folds(19, 5), ["19 stimuli", "n_folds=5", "at least 4"]),
        (lambda: stratified_shuffle_splits(["a"] * 20 + ["b"]), ["label b", "1 stimulus of 21"]),
        (lambda: stratified_shuffle_splits(np.arange(60) % 20), ["6 held out", "20 labels"]),
        (lambda: stratified_shuffle_splits(np.zeros((5, 2))), ["(5, 2)"]),
        (lambda: stratified_shuffle_splits([]), ["of 0 stimuli"]),
        (lambda: stratified_shuffle_splits(np.zeros(30), train_size=1.0), ["train_size=1.0"]),
        (lambda: stratified_shuffle_splits(np.zeros(30), n_splits=0), ["n_splits=0"]),
        (lambda: shuffle_splits(20), ["18 to fit", "2 held out"]),
        (lambda: shuffle_splits(20, train_size=0.01), ["0 to fit"]),
        (lambda: check_splits([], 9), ["none"]),
        (lambda: check_splits([StimulusSplit(np.arange(5), indices())], 9), ["splits[0]", "0 held out"]),
        (lambda: check_splits([StimulusSplit(indices(), np.arange(5))], 9), ["splits[0]", "0 stimuli to fit"]),
        (lambda: check_splits([StimulusSplit(indices(0, 9), indices(1))], 9), ["0 to 9 of 9"]),
        (lambda: check_splits([StimulusSplit(indices(0, -1), indices(1))], 9), ["-1 to 1"]),
        (lambda: check_splits([StimulusSplit(indices(0, 1), indices(1))], 9), ["twice"]),
        (lambda: split_correlations([], np.zeros((20, 2)), k_folds(20, 2)), ["[]", "(10, 2)"]),
        (lambda: split_correlations([np.zeros((9, 2))] * 2, np.zeros((20, 2)), k_folds(20, 2)), ["(9, 2)"]),
        (lambda: split_correlations([np.zeros((10, 1))] * 2, np.full((20, 1), np.nan), k_folds(20, 2)), ["20 values"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
