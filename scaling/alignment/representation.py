"""A layer's responses to stimuli, reduced to what every metric needs: one Gram matrix, accumulated in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk

from scaling.alignment.arrays import VARIANCE_FLOOR, Array, as_matrix, check_finite, column_blocks


@dataclass(frozen=True, eq=False)
class Representation:
    """Features X of n stimuli, centred on their mean pattern c: everything that PLS, ridge, CKA and RSA ask of them.

    Attributes:
        kernel: (n, n) `X_c X_cᵀ`, float64, `X_c = X − 1cᵀ`; exactly zero when X is constant over the stimuli to the
            resolution of float32.
        along_mean: (n,) `X_c c`. mean_square: `‖c‖²`. row_mean: (n,) mean of each stimulus's features.
        n_features: columns of X.
        features: (n, n_features) X_c in float64 where it is no wider than n or `GramAccumulator.MAX_KEPT`, else None.
    """

    kernel: Array
    along_mean: Array
    mean_square: float
    row_mean: Array
    n_features: int
    features: Array | None = None

    def __len__(self) -> int:
        return len(self.kernel)

    @classmethod
    def of(cls, features: ArrayLike) -> Representation:
        """The representation of (n_stimuli, ...) features; further axes are flattened.

        Raises:
            StudyError: fewer than 3 stimuli, none of them empty, or values that are not finite.
        """
        x = as_matrix(features)
        gram = GramAccumulator(len(x))
        for block in column_blocks(x):
            gram.add(block, check=False)
        return gram.finish()

    def take(self, index: NDArray[np.intp]) -> Representation:
        """The representation of some of the stimuli; still centred on the mean over all of them."""
        return Representation(
            kernel=self.kernel[np.ix_(index, index)],
            along_mean=self.along_mean[index],
            mean_square=self.mean_square,
            row_mean=self.row_mean[index],
            n_features=self.n_features,
            features=None if self.features is None else self.features[index],
        )

    def products(self) -> Array:
        """(n, n) inner products of the patterns centred over features, `Σ_f (X_if − m_i)(X_jf − m_j)`: RSA's.

        A stimulus with the same value in every feature (to rounding) has no pattern: its row and column are zero.
        """
        raw = self.kernel + self.along_mean[:, None] + self.along_mean[None, :] + self.mean_square
        products = raw - self.n_features * np.outer(self.row_mean, self.row_mean)
        flat = np.diag(products) <= VARIANCE_FLOOR * np.diag(raw)
        products[flat, :] = products[:, flat] = 0.0
        return products


class GramAccumulator:
    """Sums a Representation over blocks of features, so that X never has to exist as a whole.

    Memory: two n × n float64 matrices, one block, and the kept features while they are narrow.
    """

    MAX_KEPT = 4096  # columns kept whole even of fewer stimuli: readouts standardise them (widest penultimate layers)

    def __init__(self, n_stimuli: int) -> None:
        self._upper = np.zeros((n_stimuli, n_stimuli), order="F")
        self._along_mean, self._row_sum = np.zeros(n_stimuli), np.zeros(n_stimuli)
        self._mean_square, self._n_features = 0.0, 0
        self._kept: list[Array] | None = []

    def add(self, block: NDArray[np.floating], check: bool = True) -> None:
        """Add (n_stimuli, width) columns; a float64 block is centred in place.

        Raises:
            StudyError: values that are not finite.
        """
        if check:
            check_finite(block)
        x = block.astype(np.float64, copy=False)
        self._row_sum += x.sum(axis=1)
        mean = x.mean(axis=0)
        x -= mean
        self._mean_square += float(mean @ mean)
        self._along_mean += x @ mean
        self._n_features += x.shape[1]
        # C-ordered x is Fortran-ordered xᵀ, which BLAS reads without a copy
        self._upper = dsyrk(1.0, x.T, beta=1.0, c=self._upper, trans=1, overwrite_c=1)
        if self._kept is not None:
            self._kept = [*self._kept, x] if self._n_features <= max(self.MAX_KEPT, len(x)) else None

    def finish(self) -> Representation:
        """The sum, once; the accumulator gives its memory to it."""
        kernel = self._upper
        for i in range(len(kernel) - 1):  # in place: no third matrix
            kernel[i + 1 :, i] = kernel[i, i + 1 :]
        spread, n = float(np.trace(kernel)), len(kernel)
        flat = not spread > VARIANCE_FLOOR * (spread + n * self._mean_square)
        features = np.concatenate(self._kept, axis=1) if self._kept else None
        self._kept = None
        return Representation(
            kernel=np.zeros_like(kernel) if flat else kernel.T,
            along_mean=self._along_mean,
            mean_square=self._mean_square,
            row_mean=self._row_sum / max(self._n_features, 1),
            n_features=self._n_features,
            features=None if features is None else features * (not flat),
        )
