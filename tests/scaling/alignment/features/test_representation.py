"""The Gram matrix that all metrics share, against direct computation."""

from __future__ import annotations

import numpy as np
import pytest

from scaling.alignment.features.representation import GramAccumulator, Representation
from scaling.errors import StudyError


@pytest.fixture
def features():
    return (np.random.default_rng(3).standard_normal((12, 5, 8)) + 4).astype(np.float32)


@pytest.mark.parametrize("cuts", [[], [1], [7, 30], list(range(1, 40))])
def test_blocks_add_up_to_the_centred_kernel(features, cuts, monkeypatch):
    monkeypatch.setattr(GramAccumulator, "MAX_KEPT", 39)
    x = features.reshape(12, -1).astype(np.float64)
    gram = GramAccumulator(12)
    for block in np.split(x.copy(), cuts, axis=1):
        gram.add(block)
    found, centred = gram.finish(), x - x.mean(axis=0)
    np.testing.assert_allclose(found.kernel, centred @ centred.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.kernel, found.kernel.T)
    np.testing.assert_allclose(found.along_mean, centred @ x.mean(axis=0), rtol=1e-10, atol=1e-10)
    assert found.mean_square == pytest.approx(np.sum(x.mean(axis=0) ** 2))
    np.testing.assert_allclose(found.row_mean, x.mean(axis=1))
    assert (len(found), found.n_features, found.features) == (12, 40, None)


def test_narrow_features_are_kept_centred(features):
    x = features.reshape(12, -1)[:, :9]
    found = Representation.of(x)
    np.testing.assert_allclose(found.features, x - x.mean(axis=0, dtype=np.float64), atol=1e-6)
    np.testing.assert_allclose(found.features @ found.features.T, found.kernel, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("index", [np.arange(12), np.array([3, 1, 11, 6])])
def test_products_are_those_of_patterns_centred_over_features(features, index):
    x = features.reshape(12, -1).astype(np.float64)
    patterns = x - x.mean(axis=1, keepdims=True)
    found = Representation.of(features).take(index).products()
    np.testing.assert_allclose(found, (patterns @ patterns.T)[np.ix_(index, index)], rtol=1e-9, atol=1e-9)


def test_a_stimulus_without_a_pattern_has_zero_products(features):
    features[4] = 7.0
    products = Representation.of(features).products()
    assert not products[4].any()
    assert not products[:, 4].any()
    assert products[3, 3] > 0


def test_features_that_vary_only_by_rounding_are_constant():
    x = np.full((10, 6), 1000.0, np.float32)
    x[3] = np.nextafter(x[3], np.float32(2000))
    found = Representation.of(x)
    assert not found.kernel.any()
    assert found.features is not None
    assert not found.features.any()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(StudyError, match="1 of 20 values are NaN or infinite"):
        GramAccumulator(5).add(np.array([[0.0, 1, 2, np.inf]] + [[0.0] * 4] * 4))
