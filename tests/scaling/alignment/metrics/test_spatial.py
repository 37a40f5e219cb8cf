"""Spatial maps against scikit-learn fold by fold, closed forms of binning and ceiling, and planted maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from torch.nn.functional import interpolate

from scaling.alignment.features.feature_maps import feature_maps
from scaling.alignment.metrics.spatial import bin_maps, leave_one_image_out, map_ceiling, scale_maps, spatial_score
from scaling.errors import StudyError

N_IMAGES, GRID, N_CHANNELS, N_NEUROIDS = 6, 5, 12, 7


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def features(rng):
    return rng.normal(size=(N_IMAGES, 13, 13, N_CHANNELS))


@pytest.fixture
def maps(rng, features):
    """Neurons that read the binned, scaled layer through noise."""
    signal = scale_maps(bin_maps(features, GRID)) @ rng.normal(size=(N_CHANNELS, N_NEUROIDS))
    return signal + 0.5 * signal.std() * rng.normal(size=signal.shape)


def test_score_is_scikit_learns_fold_by_fold(features, maps):
    score = spatial_score(features, maps, n_components=4)
    x = scale_maps(bin_maps(features, GRID)).reshape(N_IMAGES, GRID**2, -1)
    y = maps.reshape(N_IMAGES, GRID**2, -1)
    for image in range(N_IMAGES):
        rest = [i for i in range(N_IMAGES) if i != image]
        model = PLSRegression(4, scale=False, tol=1e-4)
        model.fit(x[rest].reshape(-1, N_CHANNELS), y[rest].reshape(-1, N_NEUROIDS))
        predicted = model.predict(x[image])
        r = [np.corrcoef(predicted[:, n], y[image, :, n])[0, 1] for n in range(N_NEUROIDS)]
        np.testing.assert_allclose(score.correlations[image], r, atol=1e-8)
        assert score.folds[image] == pytest.approx(np.median(r), abs=1e-8)
    assert score.raw == pytest.approx(score.folds.mean())
    assert score.error == pytest.approx(score.folds.std() / np.sqrt(N_IMAGES))
    assert score.raw > 0.3


def test_noiseless_maps_of_the_layer_score_one_and_unrelated_ones_nothing(rng, features):
    binned = scale_maps(bin_maps(features, GRID))
    assert spatial_score(features, binned @ rng.normal(size=(N_CHANNELS, 3)), N_CHANNELS).raw > 1 - 1e-6
    unrelated = spatial_score(features, rng.normal(size=(N_IMAGES, GRID, GRID, 40)), 3)
    assert abs(unrelated.raw) < 4 * unrelated.error + 0.05


def test_a_flat_neuroid_is_left_out_of_its_image(features, maps):
    maps[2, :, :, 3] = 1.5
    score = spatial_score(features, maps, n_components=4)
    assert np.isnan(score.correlations[2, 3])
    assert np.isnan(score.correlations).sum() == 1
    assert score.folds[2] == pytest.approx(np.median(np.delete(score.correlations[2], 3)))


@pytest.mark.parametrize("size", [7, 10, 17, 224])
def test_binning_is_the_mean_of_each_bin(rng, size):
    x, grid = rng.normal(size=(2, size, size + 3, 3)), 7
    binned = bin_maps(x, grid)
    for row in range(grid):
        for column in range(grid):
            rows = slice(int(row * size / grid), int((row + 1) * size / grid))
            columns = slice(int(column * (size + 3) / grid), int((column + 1) * (size + 3) / grid))
            np.testing.assert_allclose(binned[:, row, column], x[:, rows, columns].mean(axis=(1, 2)), atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 7, 14])
def test_small_maps_are_interpolated(rng, size):
    x = rng.normal(size=(2, size, size, 3))
    expected = interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), (17, 17), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bin_maps(x, 17), expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


def test_a_grid_of_its_own_size_changes_nothing(rng):
    x = rng.normal(size=(2, 9, 9, 4))
    np.testing.assert_allclose(bin_maps(x, 9), x, atol=1e-15)


def test_scaling_is_by_image(rng):
    x = rng.normal(size=(3, 4, 4, 5)) * np.array([1.0, 100.0, 1e-3])[:, None, None, None]
    x[1] = 7.0
    scaled = scale_maps(x)
    assert scaled[0].min() == scaled[2].min() == 0.0
    assert scaled[0].max() == scaled[2].max() == 1.0
    assert (scaled[1] == 0).all()


def test_splits_hold_one_image_out():
    splits = leave_one_image_out(3, 4)
    assert [split.test.tolist() for split in splits] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert splits[1].train.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_ceiling_is_the_highest_pair_of_each_image(rng):
    maps = rng.normal(size=(4, 3, 3, 5))
    maps[3, :, :, 0] = 2.0
    expected = []
    for image in maps.reshape(4, 9, 5):
        pairs = [(i, j) for i in range(5) for j in range(i) if image[:, i].std() > 0 and image[:, j].std() > 0]
        expected.append(max(np.corrcoef(image[:, i], image[:, j])[0, 1] for i, j in pairs))
    assert map_ceiling(maps) == pytest.approx(np.mean(expected), abs=1e-12)
    doubled = np.concatenate([maps[:3], maps[:3]], axis=3)
    assert map_ceiling(doubled) == pytest.approx(1.0, abs=1e-12)


def test_layers_become_maps(rng):
    convolution = rng.normal(size=(2, 6, 4, 5))
    np.testing.assert_array_equal(feature_maps(convolution)[1, 2, 3], convolution[1, :, 2, 3])
    patches = rng.normal(size=(2, 9, 6))
    for n_extra in (0, 1, 5):
        tokens = np.concatenate([np.zeros((2, n_extra, 6)), patches], axis=1)
        np.testing.assert_array_equal(feature_maps(tokens), patches.reshape(2, 3, 3, 6))


@pytest.mark.parametrize("shape", [(2, 6), (2, 1, 6), (2, 3, 6), (2, 120, 6), (2, 3, 4, 5, 6)])
def test_outputs_that_are_no_maps(shape):
    with pytest.raises(StudyError, match="feature maps: output of shape"):
        feature_maps(np.zeros(shape))


def with_nan(x):
    x = x.copy()
    x[0, 0, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, y[:5]), "features of 6 images, maps of 5"),
        (lambda x, y: (x[:2], y[:2]), "2 images; needs at least 3"),
        (lambda x, y: (x[0], y), r"features of shape \(13, 13, 12\)"),
        (lambda x, y: (x, y[..., 0]), r"maps of neurons of shape \(6, 5, 5\)"),
        (lambda x, y: (with_nan(x), y), "features of shape .* 1 values not finite"),
        (lambda x, y: (x, with_nan(y)), "maps of neurons of shape .* 1 values not finite"),
        (lambda x, y: (x, y * (np.arange(6) != 4)[:, None, None, None]), "image 4 has a flat map of every neuroid"),
    ],
)
def test_bad_input(features, maps, change, words):
    with pytest.raises(StudyError, match=words):
        spatial_score(*change(features, maps), n_components=4)


def test_bad_ceilings(maps):
    with pytest.raises(StudyError, match="image 0 has fewer than two neuroids"):
        map_ceiling(maps[..., :1])
    opposite = np.concatenate([maps[..., :1], -maps[..., :1]], axis=3)
    with pytest.raises(StudyError, match="ceiling -1"):
        map_ceiling(opposite)
    with pytest.raises(StudyError, match="grid of 0"):
        bin_maps(maps, 0)
