"""The human-alignment metric against scipy, image by image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from scaling.alignment.metrics.saliency import HUMAN_CEILING, human_alignment, reduce_channels
from scaling.errors import StudyError

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.random((5, 9, 7))
SALIENCY = MAPS + RANDOM.normal(size=MAPS.shape)


def test_the_score_is_the_mean_spearman_over_the_ceiling():
    rounded = SALIENCY.round(1)  # ties
    result = human_alignment(rounded, MAPS)
    expected = [spearmanr(s.ravel(), h.ravel()).statistic for s, h in zip(rounded, MAPS, strict=True)]
    np.testing.assert_allclose(result.correlations, expected, atol=1e-12)
    assert result.raw == pytest.approx(np.mean(expected))
    assert result.score == pytest.approx(np.mean(expected) / 0.65753)
    assert result.error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(5))


def test_any_rising_function_of_the_map_reaches_the_most_and_its_opposite_the_least():
    assert human_alignment(np.exp(3 * MAPS), MAPS).score == pytest.approx(1 / HUMAN_CEILING)
    assert human_alignment(-MAPS, MAPS, ceiling=1.0).score == pytest.approx(-1)


def test_flat_maps_are_left_out_and_flat_saliency_explains_nothing():
    maps, saliency = MAPS.copy(), MAPS.copy()
    maps[0], saliency[1] = 0.5, 0.0
    result = human_alignment(saliency, maps, ceiling=1.0)
    np.testing.assert_allclose(result.correlations, [np.nan, 0, 1, 1, 1], atol=1e-12)
    assert result.raw == pytest.approx(3 / 4)


@pytest.mark.parametrize(("reduction", "expected"), [("max_abs", [[[3.0, 2.0]]]), ("abs_mean", [[[2 / 3, 1 / 3]]])])
def test_channels_are_reduced_as_asked(reduction, expected):
    gradients = np.array([[[[1.0, 2.0]], [[-3.0, 0.0]], [[0.0, -1.0]]]])
    np.testing.assert_allclose(reduce_channels(gradients, reduction), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: human_alignment(SALIENCY[:4], MAPS), r"saliency of shape \(4, 9, 7\) beside maps of \(5, 9, 7\)"),
        (lambda: human_alignment(np.full_like(MAPS, np.nan), MAPS), r"saliency: 315 of 315 values are not finite"),
        (lambda: human_alignment(SALIENCY, np.ones_like(MAPS)), r"all 5 human maps are flat"),
        (lambda: human_alignment(SALIENCY, MAPS, ceiling=0.0), r"ceiling=0.0 .* outside \(0, 1\]"),
        (lambda: reduce_channels(MAPS), r"gradients of shape \(5, 9, 7\)"),
        (lambda: reduce_channels(MAPS[None], "mean"), r"unknown channel reduction 'mean'; known: max_abs, abs_mean"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(StudyError, match=message):
        call()
