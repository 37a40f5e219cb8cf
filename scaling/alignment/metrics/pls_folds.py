"""NIPALS without deflating X: the state of many splits that are fitted together, one component at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.splits import StimulusSplit
from scaling.alignment.numerics import VARIANCE_FLOOR, Array

EPS = float(np.finfo(np.float64).eps)

RANK_FLOOR = 20 * EPS  # share of M that is rounding of the kernel (measured: 2 ε at most); of features, its square
REFRESH = 1e-2  # share of its energy below which M is computed anew: downdates lose two digits at most
COSINE_ERROR = 1e-13  # more than rounding of the cosine of two vectors of thousands of entries
CHUNK = 16  # power iterations between two looks at the stop rule


@dataclass(frozen=True)
class Neuroids:
    """Responses centred over all stimuli, `Y = values · basisᵀ` with orthonormal columns; basis None is the identity.

    PLS does not see a rotation of Y but for the start vector: neuroid j is `columns[:, j]`, in coordinates `basis[j]`.
    More neuroids than stimuli are rotated into as many coordinates as there are stimuli.
    """

    values: Array
    basis: Array | None
    columns: Array
    mean: Array

    @classmethod
    def of(cls, y: Array) -> Neuroids:
        """A neuroid that varies only by rounding becomes exactly zero."""
        mean = y.mean(axis=0)
        centred = y - mean
        centred[:, np.sum(centred**2, axis=0) <= VARIANCE_FLOOR**2 * np.sum(y**2, axis=0)] = 0.0
        if y.shape[1] <= len(y):
            return cls(centred, None, centred, mean)
        basis, upper = np.linalg.qr(centred.T)
        return cls(upper.T.copy(), basis, centred, mean)

    def __len__(self) -> int:
        return len(self.mean)

    def neuroid(self, j: int) -> tuple[Array, Array]:
        """(n,) neuroid j and its coordinates."""
        return self.columns[:, j], np.eye(1, len(self), j)[0] if self.basis is None else self.basis[j]

    def restore(self, coordinates: Array) -> Array:
        """(n, r) coordinates → (n, q) responses."""
        return (coordinates if self.basis is None else coordinates @ self.basis.T) + self.mean


@dataclass(frozen=True)
class Left:
    """What multiplies the responses from the left: features where they are narrow (primal), else the kernel (dual).

    Attributes:
        matrix: (n, d) X or K. total: (d,) its sum over stimuli. whole: (d, r) `matrixᵀ Y`, all stimuli.
        square: `‖X‖²`.
    """

    matrix: Array
    primal: bool
    square: float
    total: Array
    whole: Array

    @classmethod
    def of(cls, rep: Representation, y: Array, widest: float) -> Left:
        """Features if there are at most `widest` · n of them, else the kernel."""
        narrow = rep.features if rep.n_features <= widest * len(rep) else None
        matrix = rep.kernel if narrow is None else narrow
        square = float(np.trace(matrix) if narrow is None else np.vdot(matrix, matrix))
        return cls(matrix, narrow is not None, square, matrix.sum(axis=0), matrix.T @ y)

    def cross(self, y: Array, mask: Array, mean: Array) -> Array:
        """(d, r) `matrixᵀ (Y − mean)` over the stimuli in the mask; by subtracting the others where they are fewer."""
        inside, outside = np.flatnonzero(mask), np.flatnonzero(mask == 0)
        if len(inside) <= len(outside):
            return self.matrix[inside].T @ (y[inside] - mean)
        return self.whole - np.outer(self.total, mean) - self.matrix[outside].T @ (y[outside] - mean)


class Folds:
    """The state of some splits that are advanced together, one component at a time.

    With d features (primal) or stimuli (dual) and r neuroid coordinates: `cross` D = leftᵀ Y is (splits, d, r) and
    never deflated, `D_k = D − Lᵀ Q`; `energy` M = Y_kᵀ K Y_k is (splits, r, r) and is. Scores T, loadings L = T·left
    and response loadings Q = T·Y have a row a component; T is orthonormal over the training stimuli and also holds
    the scores of all others. Vectors over stimuli are multiplied by `mask` to leave the training ones.
    """

    def __init__(self, left: Left, neuroids: Neuroids, splits: Sequence[StimulusSplit], n_components: int) -> None:
        n, width = left.matrix.shape
        self.left, self.neuroids, self.splits = left, neuroids, splits
        self.mask = np.zeros((len(splits), n))
        for row, split in zip(self.mask, splits, strict=True):
            row[split.train] = 1.0
        self.size = self.mask.sum(axis=1, keepdims=True)
        self.mean = self.mask @ neuroids.values / self.size
        self.cross = np.stack([left.cross(neuroids.values, *fold) for fold in zip(self.mask, self.mean, strict=True)])
        self.scores = np.zeros((len(splits), n_components, n))
        self.loadings = np.zeros((len(splits), n_components, width))
        self.response_loadings = np.zeros((len(splits), n_components, self.mean.shape[1]))
        self.energy = np.stack([self._energy(f, 0) for f in range(len(splits))])
        self.reference = np.trace(self.energy, axis1=1, axis2=2)
        resolution = RANK_FLOOR**2 if left.primal else RANK_FLOOR
        flat = self.reference <= resolution * left.square * (self.mask @ np.sum(neuroids.values**2, axis=1))
        self.floor = np.where(flat, np.inf, resolution * self.reference)
        self.n_iter: list[list[int]] = [[] for _ in splits]
        self.first, self.limit = [0] * len(splits), [0.0] * len(splits)
        self.seed, self.start = np.zeros_like(self.mean), np.zeros_like(self.mask)
        for f in range(len(splits)):
            self._seed(f, 0)

    def advance(self, k: int, tol: float, max_iter: int) -> None:
        """Component k of every split that has one left; zeros in the others."""
        directions = np.zeros_like(self.mean)
        for f, n_iter in enumerate(self.n_iter):
            if len(n_iter) == k and (found := self._direction(f, k, tol, max_iter)) is not None:
                directions[f] = found[0]
                n_iter.append(found[1])
        t = self._scores(directions, k)
        trained = t * self.mask
        q, loading = trained @ self.neuroids.values, trained @ self.left.matrix
        back, square = self._back(trained, loading, k)
        back -= square[:, None] / 2 * q
        self.energy -= np.stack([back, q], axis=2) @ np.stack([q, back], axis=1)
        self.start -= np.sum(q * self.seed, axis=1, keepdims=True) * trained
        self.scores[:, k], self.loadings[:, k], self.response_loadings[:, k] = t, loading, q

    def predictions(self) -> list[Array]:
        """The training mean plus the scores of the held-out stimuli times the response loadings."""
        folds = zip(self.mean, self.scores, self.response_loadings, self.splits, strict=True)
        return [self.neuroids.restore(mean + scores[:, split.test].T @ q) for mean, scores, q, split in folds]

    def _direction(self, f: int, k: int, tol: float, max_iter: int) -> tuple[Array, int] | None:
        """(c, iterations) of component k, None if the split is done."""
        while not np.abs(self.start[f]).max() >= self.limit[f]:
            self.first[f] += 1
            if self.first[f] == len(self.neuroids):
                return None
            self._seed(f, k)
        if self.energy[f].trace() < REFRESH * self.reference[f]:
            self.energy[f] = self._energy(f, k)
            self.reference[f] = self.energy[f].trace()
        if not self.reference[f] > self.floor[f]:
            return None
        return power_iteration(self.energy[f] / self.reference[f], self.seed[f], tol, max_iter)

    def _seed(self, f: int, k: int) -> None:
        """Start from neuroid `first`: its coordinates, and what k components leave of it at the training stimuli."""
        column, self.seed[f] = self.neuroids.neuroid(self.first[f])
        column = (column - self.mask[f] @ column / self.size[f]) * self.mask[f]
        self.limit[f] = 10 * EPS * max(1.0, 10 * float(np.abs(column).max()))
        fitted = self.response_loadings[f, :k] @ self.seed[f] @ self.scores[f, :k]
        self.start[f] = column - fitted * self.mask[f]

    def _energy(self, f: int, k: int) -> Array:
        """`M = Y_kᵀ K Y_k` after k components, from its definition."""
        cross = self.cross[f] - self.loadings[f, :k].T @ self.response_loadings[f, :k]
        if self.left.primal:
            return cross.T @ cross
        residual = self.neuroids.values - self.mean[f] - self.scores[f, :k].T @ self.response_loadings[f, :k]
        energy = (residual * self.mask[f, :, None]).T @ cross
        return (energy + energy.T) / 2

    def _scores(self, directions: Array, k: int) -> Array:
        """(splits, n) `t = X_k X_kᵀ Y_k c` of all stimuli, orthogonal to the earlier, unit over the training ones."""
        t = _project(directions, self.cross)
        t -= _combine(_project(directions, self.response_loadings[:, :k]), self.loadings[:, :k])
        if self.left.primal:
            t = t @ self.left.matrix.T
        t = self._centre(t)
        for _ in range(2):  # twice is enough (Kahan)
            t -= _combine(_project(t * self.mask, self.scores[:, :k]), self.scores[:, :k])
        norm = np.sqrt(np.sum((t * self.mask) ** 2, axis=1, keepdims=True))
        return np.divide(t, norm, out=np.zeros_like(t), where=norm > 0)

    def _back(self, trained: Array, loading: Array, k: int) -> tuple[Array, Array]:
        """`Y_kᵀ K t` (splits, r) and `tᵀ K t` (splits,) of unit scores, whose loading is `left · t`."""
        if self.left.primal:
            weights, back = _project(loading, self.loadings[:, :k]), _combine(loading, self.cross)
            square = np.sum(loading**2, axis=1)
        else:
            centred = self._centre(loading) * self.mask
            weights, back = _project(centred, self.scores[:, :k]), centred @ self.neuroids.values
            square = np.sum(centred * trained, axis=1)
        return back - _combine(weights, self.response_loadings[:, :k]), square

    def _centre(self, t: Array) -> Array:
        """Minus the mean over the training stimuli."""
        return t - np.sum(t * self.mask, axis=1, keepdims=True) / self.size


def _project(vectors: Array, rows: Array) -> Array:
    """(splits, d), (splits, k, d) → (splits, k)."""
    return (rows @ vectors[:, :, None])[:, :, 0]


def _combine(weights: Array, rows: Array) -> Array:
    """(splits, k), (splits, k, d) → (splits, d)."""
    return (weights[:, None] @ rows)[:, 0]


def power_iteration(energy: Array, start: Array, tol: float, max_iter: int) -> tuple[Array, int] | None:
    """Power iteration with M from c_1: (c at the stop, iterations), or None where M does not see the start.

    Iteration i has `w_i = X_kᵀ Y_k c_i`, scaled so that `‖w_i‖² = c_iᵀ M c_i = 1`, and `c_i+1 ∝ M c_i`; hence
    `‖w_i − w_i-1‖² = dᵀ M d` with `d = c_i − c_i-1`. The stop rule looks back over a chunk of iterations at a time,
    first at `2 − 2 w_iᵀ w_i-1`, which is cheaper but for its last digits the same.
    """
    z, step, done, known = np.empty((CHUNK + 2, len(start))), energy.dot, 0, 0
    z[0], rows = start, list(z)
    while True:
        size = min(CHUNK + 1, max_iter - done)  # rows 0 to size − 1 are iterations done + 1 to done + size
        for row in range(known, size):
            step(rows[row], rows[row + 1])
        square = np.einsum("ij,ij->i", z[:size], z[1 : size + 1])
        if not square.min() > 0:
            return None
        norm = np.sqrt(square)
        cosine = np.einsum("ij,ij->i", z[1:size], z[1:size]) / (norm[1:] * norm[:-1])
        for row in (cosine > 1.0 - tol / 2 - COSINE_ERROR).nonzero()[0] + 1:
            c, d, md = _difference(z[row - 1 : row + 2], norm[row - 1], norm[row])
            if max(float(d @ md), 0.0) < tol:
                return c, done + int(row) + 1
        if done + size == max_iter:
            return z[size - 1] / norm[-1], max_iter
        z[:2] = z[size - 1 : size + 1] / norm[-1]
        done, known = done + size - 1, 1


def _difference(z: Array, before: float, now: float) -> tuple[Array, Array, Array]:
    """`c_i`, `c_i − c_i-1` and M times it, of three successive iterates and the norms of the first two."""
    return z[1] / now, z[1] / now - z[0] / before, z[2] / now - z[1] / before
