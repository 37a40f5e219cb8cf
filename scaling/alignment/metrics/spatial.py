"""Spatially resolved maps: does a layer respond where in an image the neurons do? Float64, no I/O, no hidden seeds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.pls import pls_predictions
from scaling.alignment.metrics.splits import StimulusSplit, split_correlations
from scaling.alignment.numerics import Array, pearson
from scaling.errors import StudyError

N_COMPONENTS, TOL = 25, 1e-4  # the authors' PLSRegression

MIN_IMAGES = 3  # two to fit, one held out


@dataclass(frozen=True, eq=False)
class SpatialScore:
    """How well a layer predicts maps on images that it was not fitted on.

    Attributes:
        raw: mean over folds of `folds`. error: its standard error over folds, std (ddof 0) / √n.
        folds: (n_images,) median over neuroids of r, image by image.
        correlations: (n_images, n_neuroids) Pearson r over the G² locations; NaN where a neuroid's map is flat.
    """

    raw: float
    error: float
    folds: Array
    correlations: Array


def spatial_score(features: ArrayLike, maps: ArrayLike, n_components: int = N_COMPONENTS) -> SpatialScore:
    """Predict the neurons' maps from a layer's by PLS, one image held out at a time.

    The layer's maps are binned to the neurons' grid (`bin_maps`) and scaled (`scale_maps`). With rows = locations of
    all images but one, columns = channels and neuroids, PLS with 25 components predicts the locations of the one left
    out; r over its G² locations, median over neuroids, mean over images. Neuroids with a flat map are left out of that
    image's median.

    Args:
        features: (n_images, height, width, n_channels) of the unshifted images; see `feature_maps`.
        maps: (n_images, G, G, n_neuroids), finite.

    Raises:
        StudyError: fewer than 3 images, shapes that do not fit, values that are not finite; an image on which every
            neuroid's map is flat.

    Source: Linsley et al. (2023), arXiv 2306.03779, and its code (serre-lab/neural_harmonizer). Deviations: all
    channels enter (there, layers of more than 600 are averaged in threes, and resizing up drops the last one).
    """
    y = _as_maps(maps, "maps of neurons")
    if len(y) < MIN_IMAGES:
        raise StudyError(f"spatial maps: {len(y)} images; needs at least {MIN_IMAGES} to hold one out")
    x = scale_maps(bin_maps(features, y.shape[1]))
    if len(x) != len(y):
        raise StudyError(f"spatial maps: features of {len(x)} images, maps of {len(y)}; give the same images")
    rows, splits = y.reshape(-1, y.shape[3]), leave_one_image_out(len(y), y.shape[1] * y.shape[2])
    representation = Representation.of(x.reshape(-1, x.shape[3]))
    r = split_correlations(pls_predictions(representation, rows, splits, n_components, tol=TOL), rows, splits)
    flat = np.flatnonzero(np.isnan(r).all(axis=1))
    if len(flat):
        raise StudyError(f"spatial maps: image {flat[0]} has a flat map of every neuroid; leave the image out")
    folds = np.nanmedian(r, axis=1)
    return SpatialScore(float(folds.mean()), float(folds.std() / np.sqrt(len(folds))), folds, r)


def map_ceiling(maps: ArrayLike) -> float:
    """Ceiling of `spatial_score`: the highest correlation of two neuroids' maps of an image, averaged over images.

    Pearson r over the G² locations. Neuroids with a flat map have none. The score's ceiled value is `raw / ceiling`.

    Args:
        maps: (n_images, G, G, n_neuroids).

    Raises:
        StudyError: an image with fewer than two neuroids whose map is not flat, or a ceiling that is not positive.

    Source: Linsley et al. (2023); their code correlates row by row of the map and averages, and skips one neuroid.
    """
    y = _as_maps(maps, "maps of neurons")
    highest = np.array([_highest_correlation(image.reshape(-1, y.shape[3])) for image in y])
    missing = np.flatnonzero(np.isnan(highest))
    if len(missing):
        raise StudyError(
            f"spatial maps: image {missing[0]} has fewer than two neuroids whose map varies; leave the image out"
        )
    if not highest.mean() > 0:
        raise StudyError(f"spatial maps: ceiling {highest.mean():.3g}; no two neuroids' maps agree: give more neuroids")
    return float(highest.mean())


def choose_on_others(folds: ArrayLike) -> tuple[NDArray[np.intp], Array]:
    """For each image, the layer whose mean over all the other images is highest, the first of equals, and that mean.

    The other images' folds were fitted with this image among the rest, so the choice has seen its maps, but never how
    well they were predicted. Measured on noise (12 layers, 14 images of 36 locations, 120 draws): the mean is then
    0.016 ± 0.003; choosing on all images gives 0.044, fits without both images −0.005 ± 0.004, six times as slowly.

    Args:
        folds: (n_layers, n_images) scores of `spatial_score`.
    """
    scores = np.asarray(folds, dtype=np.float64)
    others = (scores.sum(axis=1, keepdims=True) - scores) / (scores.shape[1] - 1)
    best = others.argmax(axis=0)
    return best, others[best, np.arange(scores.shape[1])]


def bin_maps(features: ArrayLike, grid: int) -> Array:
    """Maps resampled to grid × grid: (n, height, width, channels) → (n, grid, grid, channels).

    An axis longer than the grid is averaged in bins from ⌊i·size/G⌋ to ⌊(i + 1)·size/G⌋; a shorter one is
    interpolated linearly between the centres of its pixels, clamped at the border (TensorFlow's `resize`).
    """
    x = _as_maps(features, "features")
    if grid < 1:
        raise StudyError(f"spatial maps: grid of {grid}; give at least 1 location a side")
    rows, columns = (_resampling(size, grid) for size in x.shape[1:3])
    return np.einsum("gh,nhwc,kw->ngkc", rows, x, columns, optimize=True)


def scale_maps(maps: ArrayLike) -> Array:
    """`(x − min) / (max − min)` over each image's locations and channels; an image without contrast becomes 0."""
    x = _as_maps(maps, "features")
    low, high = (reduce(x, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    return np.divide(x - low, high - low, out=np.zeros_like(x), where=high > low)


def leave_one_image_out(n_images: int, n_locations: int) -> list[StimulusSplit]:
    """Splits of n_images · n_locations rows, image by image: all the locations of one image held out at a time."""
    rows = np.arange(n_images * n_locations).reshape(n_images, n_locations)
    return [StimulusSplit(np.delete(rows, image, axis=0).ravel(), rows[image]) for image in range(n_images)]


def _resampling(size: int, grid: int) -> Array:
    """(grid, size) weights whose rows sum to 1."""
    weights = np.zeros((grid, size))
    if size >= grid:
        edges = [i * size // grid for i in range(grid + 1)]
        for i, (start, end) in enumerate(itertools.pairwise(edges)):
            weights[i, start:end] = 1.0 / (end - start)
        return weights
    centres = np.clip((np.arange(grid) + 0.5) * size / grid - 0.5, 0, size - 1)
    left = np.minimum(centres.astype(int), max(size - 2, 0))
    right = np.minimum(left + 1, size - 1)
    np.add.at(weights, (np.arange(grid), left), 1.0 - (centres - left))
    np.add.at(weights, (np.arange(grid), right), centres - left)
    return weights


def _highest_correlation(columns: Array) -> float:
    """Highest r of two columns that vary; NaN where fewer than two do."""
    varying = columns[:, ~np.isnan(pearson(columns, columns))]
    if varying.shape[1] < 2:
        return float("nan")
    n = varying.shape[1]
    r = np.asarray(np.corrcoef(varying, rowvar=False)).reshape(n, n)
    return float(r[np.triu_indices(n, k=1)].max())


def _as_maps(values: ArrayLike, what: str) -> Array:
    maps = np.asarray(values, dtype=np.float64)
    if maps.ndim != 4 or 0 in maps.shape or not np.isfinite(maps).all():
        raise StudyError(
            f"spatial maps: {what} of shape {maps.shape}, {int((~np.isfinite(maps)).sum())} values not finite; give "
            "finite (n_images, height, width, channels or neuroids)"
        )
    return maps
