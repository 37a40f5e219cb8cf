"""A layer's responses to stimuli, reduced to what every metric needs: one Gram matrix, accumulated in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk

from scaling.alignment.numerics import VARIANCE_FLOOR, Array, as_matrix, check_finite, column_blocks


@dataclass(frozen=True, eq=False)
class Representation:
    """Features X of n stimuli, centred on their mean pattern c: everything that PLS, ridge, CKA and RSA ask of them.

    Attributes:
        along_mean: (n,) `X_c c`. mean_square: `‖c‖²`. row_mean: (n,) mean of each stimulus's features.
        n_features: columns of X.
        features: (n, n_features) `X_c = X − 1cᵀ` in float64 where it is no wider than n or `GramAccumulator.MAX_KEPT`,
            else None; exactly zero when X is constant over the stimuli to the resolution of float32.
        gram: `X_c X_cᵀ` where features are None.
    """

    along_mean: Array
    mean_square: float
    row_mean: Array
    n_features: int
    features: Array | None = None
    gram: Array | None = None

    def __len__(self) -> int:
        return len(self.row_mean)

    @cached_property
    def kernel(self) -> Array:
        """(n, n) `X_c X_cᵀ`, float64; of narrow features computed when first asked for, which PLS and ridge do not."""
        if self.gram is not None:
            return self.gram
        assert self.features is not None
        return self.features @ self.features.T

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
            along_mean=self.along_mean[index],
            mean_square=self.mean_square,
            row_mean=self.row_mean[index],
            n_features=self.n_features,
            features=None if self.features is None else self.features[index],
            gram=None if self.gram is None else self.gram[np.ix_(index, index)],
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
        self._upper = np.zeros((n_stimuli, n_stimuli), order="F")  # untouched, and so free, while features are kept
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
        if self._kept is not None:
            self._kept.append(x)
            if self._n_features <= max(self.MAX_KEPT, len(x)):
                return
        for part in self._kept or [x]:
            # C-ordered x is Fortran-ordered xᵀ, which BLAS reads without a copy
            self._upper = dsyrk(1.0, part.T, beta=1.0, c=self._upper, trans=1, overwrite_c=1)
        self._kept = None

    def finish(self) -> Representation:
        """The sum so far."""
        features = np.concatenate(self._kept, axis=1) if self._kept else None
        values = _mirror(self._upper) if features is None else features
        spread = float(np.trace(values) if features is None else np.vdot(values, values))
        if not spread > VARIANCE_FLOOR * (spread + len(self._row_sum) * self._mean_square):
            values[:] = 0.0
        return Representation(
            along_mean=self._along_mean,
            mean_square=self._mean_square,
            row_mean=self._row_sum / max(self._n_features, 1),
            n_features=self._n_features,
            features=features,
            gram=values if features is None else None,
        )


def _mirror(upper: Array, block: int = 256) -> Array:
    """Copy the upper triangle onto the lower in place, block by block; ten times as fast as the whole transposed."""
    for i in range(0, len(upper), block):
        rows = slice(i, i + block)
        upper[rows, rows] = np.triu(upper[rows, rows]) + np.triu(upper[rows, rows], 1).T
        for j in range(0, i, block):
            columns = slice(j, j + block)
            upper[rows, columns] = upper[columns, rows].T
    return upper.T  # C order
