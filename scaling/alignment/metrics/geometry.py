"""Geometry of representations, from their Gram matrices: spectrum, effective dimension, distance. Float64, no I/O."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.cka import as_representation
from scaling.alignment.numerics import VARIANCE_FLOOR, Array, as_responses
from scaling.errors import StudyError

FIRST_RANK, LAST_RANK = 11, 500  # of the eigenvalues that Stringer et al. fit
LEAST_RANKS = 10  # of them, below which no exponent is given; assumption


class Geometry(NamedTuple):
    """exponent: of `eigenspectrum_exponent`, None of too few eigenvalues; dimension: of `effective_dimension`."""

    exponent: float | None
    dimension: float


def geometry(features: Representation | ArrayLike) -> Geometry:
    """Exponent and effective dimension of one layer's responses to n stimuli."""
    spectrum = eigenspectrum(features)
    n_known = int(np.count_nonzero(spectrum > VARIANCE_FLOOR * spectrum[0])) if spectrum[0] > 0 else 0
    known = n_known >= FIRST_RANK + LEAST_RANKS - 1
    return Geometry(eigenspectrum_exponent(spectrum) if known else None, effective_dimension(spectrum))


def centred_kernel(features: Representation | ArrayLike) -> Array:
    """(n, n) Gram matrix of the features less their mean over these stimuli, of a part of the stimuli too."""
    kernel = as_representation(features).kernel
    mean = kernel.mean(axis=0)
    return np.asarray(kernel - mean - mean[:, None] + mean.mean())


def eigenspectrum(features: Representation | ArrayLike) -> Array:
    """(n - 1,) eigenvalues of the covariance of features over n stimuli, falling: those of `X_c X_cᵀ / (n - 1)`."""
    kernel = centred_kernel(features)
    return np.maximum(np.linalg.eigvalsh(kernel)[:0:-1], 0.0) / (len(kernel) - 1)


def effective_dimension(spectrum: ArrayLike) -> float:
    """Participation ratio `(Σ λ)² / Σ λ²` of (r,) eigenvalues: r of r equal ones, 1 of a single one; 0 where all are 0.

    Source: Gao et al. (2017), bioRxiv 214262, eq. 5.
    """
    values = np.asarray(spectrum, dtype=np.float64)
    squares = float(values @ values)
    return float(values.sum()) ** 2 / squares if squares > 0 else 0.0


def eigenspectrum_exponent(spectrum: ArrayLike, first: int = FIRST_RANK, last: int = LAST_RANK) -> float:
    """α of `λ_r ∝ r^-α` over the ranks first … last (1 is the largest), those that there are and that exceed rounding.

    Least squares of log λ on log r, weighted by 1 / r.

    Raises:
        StudyError: fewer than 2 ranks.

    Source: Stringer et al. (2019), Nature 571:361, Fig. 2, and `get_powerlaw` of its code (ranks 11 to 500 and these
    weights). They are of neural responses by cross-validation, see `cross_validated_spectrum`; of a network, whose
    responses have no noise, plain eigenvalues are theirs.
    """
    values = np.asarray(spectrum, dtype=np.float64)
    ranks = np.arange(1, len(values) + 1)
    used = (ranks >= first) & (ranks <= last) & (values > VARIANCE_FLOOR * values.max(initial=0.0))
    if np.count_nonzero(used) < 2:
        raise StudyError(
            f"eigenspectrum: {np.count_nonzero(used)} eigenvalues at ranks {first} to {last}; give more stimuli"
        )
    x, y, weights = np.log(ranks[used]), np.log(values[used]), 1.0 / ranks[used]
    x = x - np.average(x, weights=weights)
    return float(-(weights * x @ y) / (weights * x @ x))


def cross_validated_spectrum(first: ArrayLike, second: ArrayLike) -> Array:
    """Signal variance along the principal components of a first presentation, falling only where it does: cvPCA.

    `λ_r = (X₁ v_r)ᵀ (X₂ v_r) / (n - 1)`, v_r of X₁: noise that is independent between presentations cancels.

    Args:
        first, second: (n_stimuli, n_neuroids) responses to the same stimuli.

    Returns:
        (min(n_stimuli - 1, n_neuroids),); single values may be below zero.

    Source: Stringer et al. (2019), Methods, "Cross-validated PCA".
    """
    x, y = as_responses(first), as_responses(second)
    if x.shape != y.shape:
        raise StudyError(f"cvPCA: presentations of shapes {x.shape} and {y.shape}; give the same stimuli and neuroids")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    _, _, components = np.linalg.svd(x, full_matrices=False)
    components = components[: min(len(x) - 1, x.shape[1])]
    return np.einsum("nr,nr->r", x @ components.T, y @ components.T) / (len(x) - 1)


def procrustes_similarity(features: Representation | ArrayLike, others: Representation | ArrayLike) -> float:
    """Similarity in [0, 1] of two representations of the same stimuli after the best rotation: 1 for equal ones.

    `‖X_cᵀ Y_c‖_* / (‖X_c‖ ‖Y_c‖)`, the cosine of `procrustes_distance`; 0 where one of them is constant.

    Raises:
        StudyError: numbers of stimuli that differ.

    Source: Williams et al. (2021), NeurIPS, eq. 4.
    """
    x, y = (centred_kernel(one) for one in (features, others))
    if len(x) != len(y):
        raise StudyError(f"procrustes: {len(x)} and {len(y)} stimuli; give the same stimuli")
    norms = np.sqrt(max(np.trace(x), 0.0) * max(np.trace(y), 0.0))
    if not norms > 0:
        return 0.0
    nuclear = np.linalg.svd(_root(x).T @ _root(y), compute_uv=False).sum()
    return float(np.clip(nuclear / norms, 0.0, 1.0))


def procrustes_distance(features: Representation | ArrayLike, others: Representation | ArrayLike) -> float:
    """Angle in [0, π/2] between two representations of the same stimuli after the best rotation: 0 for equal ones.

    `arccos(‖X_cᵀ Y_c‖_* / (‖X_c‖ ‖Y_c‖))`, a metric; it sees neither rotation nor scale nor offset. Widths may differ.

    Raises:
        StudyError: numbers of stimuli that differ; representations that are constant.

    Source: Williams et al. (2021), NeurIPS, eq. 4 and 5 (angular distance).
    """
    if not all(np.trace(centred_kernel(one)) > 0 for one in (features, others)):
        raise StudyError("procrustes: a representation is constant over the stimuli, so that it has no direction")
    return float(np.arccos(procrustes_similarity(features, others)))


def _root(kernel: Array) -> Array:
    """(n, n) R with R Rᵀ = kernel."""
    values, vectors = np.linalg.eigh(kernel)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
