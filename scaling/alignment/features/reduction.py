"""What may be made of a layer's features before they are compared: nothing, a sparse random projection, or PCA."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_matrix

from scaling.alignment.features.representation import Representation
from scaling.alignment.numerics import VARIANCE_FLOOR, Array
from scaling.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

    from scaling.alignment.features.activations import Extract

N_COMPONENTS = 1000  # the published study's, for both reductions


class ImageSequence(Protocol):
    """Images in a fixed order, as `scaling.data.recordings.stimuli.Stimuli` gives them."""

    @property
    def key(self) -> str:
        """Hash of the images' content."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[NDArray[Any]]:
        """(batch, height, width, 3) uint8, or prepared (batch, channels, height, width) float32."""


@dataclass(frozen=True)
class Reduction:
    """Features as they are; the base of the two reductions."""

    def fitted_on(self) -> ImageSequence | None:
        """Other images on which the reduction is fitted; their features are computed with the stimuli's."""
        return None

    @property
    def itemsize(self) -> int:
        """Bytes of a stored value."""
        return 4

    def width(self, n_features: int) -> int:
        """ColumnRange that are stored of a layer of n_features."""
        return n_features

    def held_bytes(self, n_features: int, batch_size: int) -> int:
        """Memory that the reduction of one layer takes while images pass."""
        return 0

    def extract(self, n_features: int, columns: slice) -> Extract:
        """What is stored of a layer's (batch, n_features) output."""
        from scaling.alignment.features.activations import copy_columns

        return lambda output: copy_columns(output, columns)

    def gram_rows(self, n_features: int, n_stimuli: int, n_images: int) -> int:
        """How many of all images, the stimuli first, the layer's Gram matrix needs."""
        return n_stimuli

    def finish(self, gram: Representation, n_stimuli: int) -> Representation:
        """The stimuli's representation, from the Gram matrix over `gram_rows` images."""
        return gram

    def identity(self) -> dict[str, Any]:
        """All that makes two reductions differ, for a cache's key."""
        return {"kind": "none"}


@dataclass(frozen=True)
class SparseProjection(Reduction):
    """scikit-learn's `SparseRandomProjection(n_components, density="auto", random_state=seed)`, batch by batch.

    `X Rᵀ` with R (n_components, p), entries ±p^¼ / √n_components with probability p^−½ / 2 each, else 0: the
    published study's layer scoring. Features are never stored at full width. A layer no wider than n_components is
    left as it is. Source: Li, Hastie & Church 2006.
    """

    n_components: int = N_COMPONENTS
    seed: int = 0

    def __post_init__(self) -> None:
        _check_components(self.n_components)

    @property
    def itemsize(self) -> int:
        return 8

    def width(self, n_features: int) -> int:
        return min(n_features, self.n_components)

    def held_bytes(self, n_features: int, batch_size: int) -> int:
        """The matrix (float64 and an index an entry, twice while it is made) and a batch in float64."""
        if n_features <= self.n_components:
            return 0
        return 2 * 12 * self.n_components * math.isqrt(n_features) + 8 * batch_size * n_features

    def extract(self, n_features: int, columns: slice) -> Extract:
        if n_features <= self.n_components:
            return super().extract(n_features, columns)
        matrix = self.matrix(n_features)[columns]
        return lambda output: (matrix @ _columns(output)).T

    def matrix(self, n_features: int) -> csr_matrix:
        """R, (n_components, n_features)."""
        from sklearn.random_projection import SparseRandomProjection  # a second of processor time

        projection = SparseRandomProjection(self.n_components, density="auto", random_state=self.seed)
        return projection.fit(csr_matrix((1, n_features))).components_  # only the shape is looked at

    def identity(self) -> dict[str, Any]:
        return {"kind": "sparse projection", "n_components": self.n_components, "seed": self.seed}


@dataclass(frozen=True)
class PrincipalComponents(Reduction):
    """Scores of the stimuli on the first principal components of other images' features, by Gram matrices alone.

    With X_s, X_f the stimuli's and the other images' features less the other images' mean, and
    `X_f X_fᵀ = U Λ Uᵀ`: `X_s V = X_s X_fᵀ U Λ^−½`. Equal to `PCA(n_components).fit(X_f).transform(X_s)` up to the
    components' signs; here a component's largest score over the fit images is positive. Components without variance
    over the fit images (to rounding) are left out. A layer no wider than n_components is left as it is. Source: the
    published study's layer commitment, fitted on ImageNet images.

    Raises:
        StudyError: no more fit images than components.
    """

    fit_images: ImageSequence
    n_components: int = N_COMPONENTS

    def __post_init__(self) -> None:
        _check_components(self.n_components)
        n_fit = len(self.fit_images)
        if n_fit <= self.n_components:
            raise StudyError(
                f"PCA: n_components={self.n_components:,} of {n_fit:,} fit images; give more images than components"
            )

    def fitted_on(self) -> ImageSequence | None:
        return self.fit_images

    def gram_rows(self, n_features: int, n_stimuli: int, n_images: int) -> int:
        return n_stimuli if n_features <= self.n_components else n_images

    def finish(self, gram: Representation, n_stimuli: int) -> Representation:
        if len(gram) == n_stimuli:
            return gram
        return Representation.of(pca_scores(gram.kernel, n_stimuli, self.n_components))

    def identity(self) -> dict[str, Any]:
        return {"kind": "pca", "n_components": self.n_components, "fit_images": self.fit_images.key}


def pca_scores(kernel: Array, n_stimuli: int, n_components: int) -> Array:
    """Principal component scores of the first n_stimuli rows, components fitted on the other rows.

    Args:
        kernel: (n, n) inner products of features less any common pattern.

    Returns:
        (n_stimuli, at most n_components), by decreasing variance over the fit rows; zeros in one column where the
        fit rows are all equal.
    """
    fit, cross = kernel[n_stimuli:, n_stimuli:], kernel[:n_stimuli, n_stimuli:]
    means, rounding = fit.mean(axis=0), VARIANCE_FLOOR * float(np.trace(fit))
    cross = cross - cross.mean(axis=1, keepdims=True) - means + means.mean()
    fit = fit - means[:, None] - means + means.mean()
    last = len(fit) - 1
    variances, vectors = eigh(fit, subset_by_index=[max(0, last + 1 - n_components), last], overwrite_a=True)
    kept = variances > rounding
    if not kept.any():
        return np.zeros((n_stimuli, 1))
    variances, vectors = variances[kept][::-1], vectors[:, kept][:, ::-1]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(variances))])
    return (cross @ vectors) * (signs / np.sqrt(variances))


def _columns(output: Tensor) -> Array:
    """(n_features, batch) float64, contiguous: what a sparse matrix multiplies without another copy."""
    return np.array(output.detach().float().cpu().numpy().T, dtype=np.float64, order="C")


def _check_components(n_components: int) -> None:
    if n_components < 1:
        raise StudyError(f"reduction: n_components={n_components}; give at least 1")
