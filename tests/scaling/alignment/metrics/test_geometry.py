"""Geometry against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.cross_decomposition import PLSRegression

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.between import predictivity, reverse_predictivity
from scaling.alignment.metrics.geometry import (
    cross_validated_spectrum,
    effective_dimension,
    eigenspectrum,
    eigenspectrum_exponent,
    geometry,
    procrustes_distance,
    procrustes_similarity,
)
from scaling.alignment.metrics.registry import METRICS
from scaling.alignment.metrics.splits import k_folds, shuffle_splits
from scaling.errors import StudyError


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def with_spectrum(values, n, rng):
    """(n, r) features whose covariance over the n stimuli has exactly these eigenvalues."""
    basis = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, len(values)))]))[0][:, 1:]
    return (
        basis * np.sqrt(np.asarray(values) * (n - 1)) @ np.linalg.qr(rng.standard_normal((len(values),) * 2))[0] + 3.0
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.7])
def test_a_planted_power_law_is_found(rng, alpha):
    planted = np.arange(1, 61) ** -alpha
    x = with_spectrum(planted, 80, rng)
    assert eigenspectrum(x)[:60] == pytest.approx(planted, rel=1e-6)
    found = geometry(x.astype(np.float32))
    assert found.exponent == pytest.approx(alpha, abs=1e-3)
    assert found.dimension == pytest.approx(planted.sum() ** 2 / (planted**2).sum(), rel=1e-4)


def test_the_spectrum_is_numpys_of_any_part(rng):
    x = rng.standard_normal((40, 25))
    part = np.arange(0, 40, 3)
    expected = np.sort(np.linalg.eigvalsh(np.cov(x[part].T)))[::-1]
    assert eigenspectrum(Representation.of(x).take(part)) == pytest.approx(expected[: len(part) - 1], abs=1e-12)


def test_weights_are_those_of_the_code_of_stringer(rng):
    """Its `get_powerlaw`, written out."""
    spectrum = np.sort(rng.lognormal(size=200))[::-1]
    ranks = np.arange(11, 201)
    design, weights = np.column_stack([-np.log(ranks), np.ones(190)]), 1.0 / ranks
    expected = np.linalg.solve(design.T @ (design * weights[:, None]), design.T @ (weights * np.log(spectrum[10:])))[0]
    assert eigenspectrum_exponent(spectrum) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spectrum", "expected"), [([2.0] * 7, 7.0), ([5.0, 0, 0], 1.0), ([3.0, 1.0], 1.6), ([0.0], 0.0)]
)
def test_effective_dimension(spectrum, expected):
    assert effective_dimension(spectrum) == pytest.approx(expected)


def test_few_stimuli_have_a_dimension_and_no_exponent(rng):
    assert geometry(rng.standard_normal((12, 40))).exponent is None
    assert geometry(np.ones((12, 40))) == (None, 0.0)
    with pytest.raises(StudyError, match="ranks 11 to 500"):
        eigenspectrum_exponent(np.ones(5))


def test_cross_validation_takes_noise_out_of_the_spectrum(rng):
    """Equal presentations: the plain spectrum. Independent noise: plain PCA is far above the signal's variance."""
    signal = with_spectrum(np.arange(1, 21) ** -1.0, 400, rng)
    assert cross_validated_spectrum(signal, signal) == pytest.approx(eigenspectrum(signal)[:20], rel=1e-9)
    first, second = (signal + rng.standard_normal(signal.shape) * 0.5 for _ in range(2))
    total = np.sum(np.arange(1, 21) ** -1.0)
    assert cross_validated_spectrum(first, second).sum() == pytest.approx(total, rel=0.1)
    assert eigenspectrum(first).sum() > 2 * total


def test_procrustes_is_the_best_rotations(rng):
    x, y = rng.standard_normal((2, 30, 6))
    a, b = (z - z.mean(axis=0) for z in (x, y))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    rotation, _ = orthogonal_procrustes(a, b)
    assert procrustes_distance(x, y) == pytest.approx(np.arccos(np.sum((a @ rotation) * b)), abs=1e-9)
    assert procrustes_similarity(x, y) == pytest.approx(np.sum((a @ rotation) * b))
    assert procrustes_similarity(np.ones((30, 4)), y) == 0.0
    turned = 3 * x @ np.linalg.qr(rng.standard_normal((6, 6)))[0] + 1
    assert procrustes_distance(x, turned) == pytest.approx(0.0, abs=1e-6)
    wide = np.column_stack([y, rng.standard_normal((30, 3))])
    d = [procrustes_distance(*pair) for pair in ((x, y), (y, wide), (x, wide))]
    assert d[2] <= d[0] + d[1] + 1e-12
    with pytest.raises(StudyError, match="constant"):
        procrustes_distance(np.ones((30, 4)), y)


def test_reverse_predictivity_is_pls_the_other_way_round(rng):
    latent = rng.standard_normal((90, 8))
    neurons = latent @ rng.standard_normal((8, 30)) + 0.3 * rng.standard_normal((90, 30))
    units = np.column_stack([latent @ rng.standard_normal((8, 12)), np.ones(90)])  # one never answers
    splits = shuffle_splits(90, 3)
    by_hand = []
    for train, test in splits:
        predicted = PLSRegression(25, scale=False).fit(neurons[train], units[train]).predict(neurons[test])
        by_hand.append(
            np.median([np.corrcoef(p, t)[0, 1] for p, t in zip(predicted.T[:12], units[test].T[:12], strict=True)])
        )
    found = reverse_predictivity(neurons, Representation.of(units), splits)
    assert found.raw == pytest.approx(np.mean(by_hand), abs=1e-9)
    (named,) = METRICS["reverse-pls"].evaluate(Representation.of(units), [neurons[None]], None)
    assert named.raw == reverse_predictivity(neurons, Representation.of(units), k_folds(90)).raw
    assert predictivity(neurons, neurons[:, :5], splits).raw > 0.95  # a brain predicts its own noise too
