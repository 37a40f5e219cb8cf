"""Ridge regression with one penalty for all units of a subject; folds inside the training stimuli at no further fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.ridge import ALPHAS, EPS, RidgeFold, check_alphas, ridge_fold
from scaling.alignment.metrics.splits import Index, StimulusSplit, check_splits
from scaling.alignment.numerics import Array, as_responses
from scaling.errors import StudyError


def _spans(*spans: tuple[float, float, int]) -> Array:
    """Evenly spaced values from the first to the last; every span but the last leaves its end to the next."""
    parts = [np.linspace(a, b, n, endpoint=i == len(spans) - 1) for i, (a, b, n) in enumerate(spans)]
    return np.concatenate(parts)


# Of Brain-Score's `ridgecv` (brainscore_vision, metrics/regression_correlation: 99 values), and of its EEG benchmark
BRAIN_SCORE_ALPHAS: Array = np.concatenate(
    [
        [0.01, 0.1, 0.5, 1.0],
        _spans((1e1, 1e2, 4), (1e2, 1e3, 18), (1e3, 1e4, 18), (1e4, 1e5, 18), (1e5, 1e6, 18), (1e6, 1e7, 19)),
    ]
)
EEG_ALPHAS: Array = np.concatenate(
    [
        [0.01, 0.1, 0.5, 1.0, 10.0, 50.0, 100.0, 500.0, 1e3, 5e3],
        _spans((1e4, 1e5, 4), (1e5, 1e6, 4), (1e6, 1e7, 5)),
    ]
)


class SharedFit(NamedTuple):
    """Predictions of the held-out stimuli, the penalty (absolute), and held-out predictions of each inner fold."""

    predictions: Array
    alpha: float
    inner: list[Array]


def shared_ridge(
    rep: Representation,
    responses: ArrayLike,
    split: StimulusSplit,
    inner: Sequence[Index] = (),
    alphas: ArrayLike = ALPHAS,
    relative: bool = True,
) -> SharedFit:
    """One ridge regression of all units, fitted on a split's training stimuli; see `ridge_cv_predictions`.

    `min ‖Y_c − X_c W‖² + α‖W‖²`, α of least leave-one-out error, summed over units; the first of equals. As
    scikit-learn's `RidgeCV(alphas)` where not relative, and its `Ridge(alpha)` for one penalty.

    What the fit would predict for a part t of its own training stimuli, had it not seen them, follows from the whole
    fit's residual e = (I − H) Y at the same α: `Ŷ_t = Y_t − (I − H_tt)^-1 e_t`, H the hat matrix with the mean in it.

    Args:
        rep: n stimuli. responses: (n, q), finite. split: stimuli to fit and to predict. inner: parts of the training
            stimuli, as positions in `split.train`. alphas, relative: as `ridge_cv_predictions`.

    Raises:
        StudyError: as `ridge_cv_predictions`.

    Source: as there; held-out blocks of a linear smoother: Zhang (1993), Annals of Statistics 21:299.
    """
    penalties, y = check_alphas(alphas), as_responses(responses)
    if len(rep) != len(y):
        raise StudyError(f"ridge: features of {len(rep)} stimuli, responses of {len(y)}; give the same stimuli")
    check_splits([split], len(y))
    fold, mean = ridge_fold(rep, split), y[split.train].mean(axis=0)
    if fold.flat:
        kept = [np.delete(y[split.train], part, axis=0).mean(axis=0) for part in inner]
        flat = [np.tile(m, (len(part), 1)) for m, part in zip(kept, inner, strict=True)]
        return SharedFit(np.tile(mean, (len(split.test), 1)), float(penalties[0]), flat)
    solved = _Solved.of(fold, y[split.train] - mean, penalties * (fold.scale if relative else 1.0))
    residual = solved.residual()
    left_out = [y[split.train][t] - np.linalg.solve(solved.freedom(t), residual[t]) for t in inner]
    return SharedFit(mean + fold.right @ solved.weights(), solved.alpha, left_out)


class _Solved(NamedTuple):
    """A fit by eigenvectors of the fold's Gram matrix: `basis` its eigenvectors (dual) or the scores X V (primal)."""

    fold: RidgeFold
    y: Array
    alpha: float
    values: Array
    vectors: Array
    basis: Array
    projected: Array

    @classmethod
    def of(cls, fold: RidgeFold, y: Array, alphas: Array) -> _Solved:
        values, vectors = np.linalg.eigh(fold.gram)
        values = np.where(values > len(y) * EPS * values[-1], values, 0.0)  # else rounding
        basis = fold.left @ vectors if fold.primal else vectors
        solved = cls(fold, y, float(alphas[0]), values, vectors, basis, basis.T @ y)
        if len(alphas) == 1:
            return solved
        square = basis**2
        errors = [solved._replace(alpha=float(alpha))._error(square) for alpha in alphas]
        return solved._replace(alpha=float(alphas[int(np.argmin(errors))]))

    @property
    def shrinkage(self) -> Array:
        return (1.0 if self.fold.primal else self.alpha) / (self.values + self.alpha)

    def residual(self) -> Array:
        """(n, q) `Y − Ŷ`."""
        smooth = self.basis @ (self.shrinkage[:, None] * self.projected)
        return self.y - smooth if self.fold.primal else smooth

    def freedom(self, part: Index) -> Array:
        """`I − H` of some training stimuli."""
        some = self.basis[part]
        smooth = (some * self.shrinkage) @ some.T - (-1.0 if self.fold.primal else 1.0) / len(self.y)
        return np.eye(len(part)) - smooth if self.fold.primal else smooth

    def weights(self) -> Array:
        return self.vectors @ (self.projected / (self.values + self.alpha)[:, None])

    def _error(self, square: Array) -> float:
        """Sum of squared leave-one-out errors, `(y_i − ŷ_i) / (1 − h_ii)`."""
        kept = square @ self.shrinkage
        freedom = np.maximum((1.0 - kept if self.fold.primal else kept) - 1.0 / len(self.y), EPS)
        return float(np.sum((self.residual() / freedom[:, None]) ** 2))
