"""Reductions against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.random_projection import SparseRandomProjection

from scaling.alignment.features.reduction import PrincipalComponents, Reduction, SparseProjection, pca_scores
from scaling.alignment.features.representation import Representation
from scaling.errors import StudyError


@pytest.fixture
def rng():
    return np.random.default_rng(3)


class Images:
    """Only counted and named here."""

    def __init__(self, n, key="fit"):
        self.n, self.key = n, key

    def __len__(self):
        return self.n

    def batches(self, batch_size):
        raise NotImplementedError


@pytest.mark.parametrize(("width", "n_components"), [(3000, 100), (1500, 1000), (101, 100)])
def test_projection_equals_sklearn(rng, width, n_components):
    x = rng.standard_normal((12, width)).astype(np.float32)
    theirs = SparseRandomProjection(n_components, density="auto", random_state=0).fit(x)
    extract = SparseProjection(n_components).extract(width, slice(0, n_components))
    got = np.concatenate([extract(torch.from_numpy(x[start : start + 5])) for start in (0, 5, 10)])
    assert got.dtype == np.float64
    np.testing.assert_allclose(
        got, x.astype(np.float64) @ theirs.components_.astype(np.float64).T, rtol=1e-6, atol=1e-6
    )
    doubled = SparseRandomProjection(n_components, random_state=0).fit_transform(x.astype(np.float64))
    np.testing.assert_allclose(got, doubled, rtol=1e-12, atol=1e-12)


def test_columns_of_a_projection_are_parts_of_the_whole(rng):
    x = torch.from_numpy(rng.standard_normal((4, 900)).astype(np.float32))
    projection = SparseProjection(60, seed=5)
    whole = projection.extract(900, slice(0, 60))(x)
    np.testing.assert_array_equal(projection.extract(900, slice(10, 33))(x), whole[:, 10:33])
    assert np.abs(whole - SparseProjection(60, seed=6).extract(900, slice(0, 60))(x)).max() > 0.1


def test_the_projection_keeps_distances(rng):
    x = rng.standard_normal((20, 4000)).astype(np.float32)
    got = SparseProjection(1000).extract(4000, slice(0, 1000))(torch.from_numpy(x))
    assert np.sum(got**2, axis=1) / np.sum(x**2, axis=1) == pytest.approx(1, abs=0.2)


def test_the_memory_of_a_projection_is_counted_above_what_it_takes(rng):
    for width in (2000, 50_000):
        matrix = SparseProjection(200).matrix(width)
        assert isinstance(matrix, csr_matrix)
        actual = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
        assert actual < SparseProjection(200).held_bytes(width, 4) - 8 * 4 * width < 4 * actual


@pytest.mark.parametrize("reduction", [Reduction(), SparseProjection(50), PrincipalComponents(Images(51), 50)])
def test_narrow_layers_are_left_as_they_are(rng, reduction):
    x = rng.standard_normal((6, 50)).astype(np.float32)
    assert reduction.width(50) == 50
    assert reduction.held_bytes(50, 8) == 0
    assert reduction.gram_rows(50, 6, 57) == 6
    np.testing.assert_array_equal(reduction.extract(50, slice(0, 50))(torch.from_numpy(x)), x)
    gram = Representation.of(x)
    assert reduction.finish(gram, 6) is gram


def decaying(rng, n, width):
    """Features with a spectrum as layers have it, off centre."""
    loadings = rng.standard_normal((60, width)) * np.arange(1, 61)[:, None] ** -1.0
    return rng.standard_normal((n, 60)) @ loadings + 0.01 * rng.standard_normal((n, width)) + 3 * rng.random(width)


@pytest.mark.parametrize("width", [400, 2000])
@pytest.mark.parametrize("n_components", [1, 20, 79])
def test_principal_components_by_kernels_equal_sklearn(rng, width, n_components):
    x = decaying(rng, 110, width)
    stimuli, others = x[:30] + 0.5, x[30:]
    expected = PCA(n_components, svd_solver="full").fit(others).transform(stimuli)
    got = pca_scores(Representation.of(np.concatenate([stimuli, others])).kernel, 30, n_components)
    assert got.shape == (30, n_components)
    signs = np.sign(np.sum(got * expected, axis=0))
    np.testing.assert_allclose(got * signs, expected, atol=1e-9 * np.abs(expected).max())


def test_a_principal_components_representation_is_that_of_the_scores(rng):
    x = decaying(rng, 90, 300)
    got = PrincipalComponents(Images(60), 25).finish(Representation.of(x), 30)
    scores = PCA(25, svd_solver="full").fit(x[30:]).transform(x[:30])
    expected = Representation.of(scores)
    assert got.n_features == 25
    np.testing.assert_allclose(got.kernel, expected.kernel, atol=1e-8)
    np.testing.assert_allclose(got.mean_square, expected.mean_square)


def test_the_largest_score_of_a_component_over_the_fit_images_is_positive(rng):
    x = decaying(rng, 60, 200)
    kernel = Representation.of(np.concatenate([x, x])).kernel
    scores = pca_scores(kernel, 60, 10)  # the stimuli are the fit images
    assert (scores[np.abs(scores).argmax(axis=0), np.arange(10)] > 0).all()
    np.testing.assert_array_equal(scores, pca_scores(kernel.copy(), 60, 10))


def test_components_without_variance_are_left_out(rng):
    x = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 100))
    assert pca_scores(Representation.of(x).kernel, 10, 20).shape == (10, 5)
    same = np.concatenate([x[:10], np.ones((30, 100))])
    np.testing.assert_array_equal(pca_scores(Representation.of(same).kernel, 10, 20), np.zeros((10, 1)))


def test_reductions_differ_by_every_setting():
    reductions = [
        Reduction(),
        SparseProjection(),
        SparseProjection(999),
        SparseProjection(seed=1),
        PrincipalComponents(Images(2000)),
        PrincipalComponents(Images(2000, "other")),
        PrincipalComponents(Images(2000), 999),
    ]
    identities = [str(reduction.identity()) for reduction in reductions]
    assert len(set(identities)) == len(identities)
    assert str(SparseProjection(1000, 0).identity()) == identities[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SparseProjection(0), ["n_components=0"]),
        (lambda: PrincipalComponents(Images(100), 0), ["n_components=0"]),
        (lambda: PrincipalComponents(Images(1000)), ["n_components=1,000", "1,000 fit images"]),
        (lambda: PrincipalComponents(Images(0), 5), ["0 fit images"]),
    ],
)
def test_bad_reductions(make, words):
    with pytest.raises(StudyError) as error:
        make()
    assert all(word in str(error.value) for word in words), error.value
