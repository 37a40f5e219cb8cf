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


class SharedRidge:
    """Ridge regressions on one representation: each set of training stimuli is decomposed once, whoever's units follow.

    `min ‖Y_c − X_c W‖² + α‖W‖²` for all units of a subject at once, α of least leave-one-out error, summed over units;
    the first of equals. As scikit-learn's `RidgeCV(alphas)` where not relative, and its `Ridge(alpha)` for one penalty.

    Args:
        rep: n stimuli. alphas, relative: as `ridge_cv_predictions`.

    Source: as there; held-out blocks of a linear smoother: Zhang (1993), Annals of Statistics 21:299.
    """

    def __init__(self, rep: Representation, alphas: ArrayLike = ALPHAS, relative: bool = True) -> None:
        self._rep, self._alphas, self._relative = rep, check_alphas(alphas), relative
        self._known: dict[bytes, _Decomposed] = {}

    def fit(self, responses: ArrayLike, split: StimulusSplit, inner: Sequence[Index] = ()) -> SharedFit:
        """Fitted on a split's training stimuli.

        What the fit would predict for a part t of its own training stimuli, had it not seen them, follows from the
        whole fit's residual e = (I − H) Y at the same α: `Ŷ_t = Y_t − (I − H_tt)^-1 e_t`, H the hat matrix with the
        mean in it.

        Args:
            responses: (n, q), finite. inner: parts of the training stimuli, as positions in `split.train`.

        Raises:
            StudyError: as `ridge_cv_predictions`.
        """
        y = as_responses(responses)
        if len(self._rep) != len(y):
            n, m = len(self._rep), len(y)
            raise StudyError(f"ridge: features of {n} stimuli, responses of {m}; give the same stimuli")
        check_splits([split], len(y))
        of, mean = self._decomposed(split), y[split.train].mean(axis=0)
        if of.flat:
            return _constant(y[split.train], mean, len(split.test), inner, float(self._alphas[0]))
        penalties = self._alphas * (of.scale if self._relative else 1.0)
        solved = _Solved.of(of, y[split.train] - mean, penalties)
        residual = solved.residual()
        left_out = [y[split.train][t] - np.linalg.solve(solved.freedom(t), residual[t]) for t in inner]
        return SharedFit(mean + of.right @ solved.weights(), solved.alpha, left_out)

    def _decomposed(self, split: StimulusSplit) -> _Decomposed:
        key = split.train.tobytes() + b"|" + split.test.tobytes()
        if key not in self._known:
            self._known[key] = _Decomposed.of(ridge_fold(self._rep, split))
        return self._known[key]


def shared_ridge(
    rep: Representation,
    responses: ArrayLike,
    split: StimulusSplit,
    inner: Sequence[Index] = (),
    alphas: ArrayLike = ALPHAS,
    relative: bool = True,
) -> SharedFit:
    """One regression alone; see `SharedRidge`."""
    return SharedRidge(rep, alphas, relative).fit(responses, split, inner)


def _constant(y: Array, mean: Array, n_test: int, inner: Sequence[Index], alpha: float) -> SharedFit:
    """Of features that are constant over the training stimuli."""
    kept = [np.delete(y, part, axis=0).mean(axis=0) for part in inner]
    flat = [np.tile(m, (len(part), 1)) for m, part in zip(kept, inner, strict=True)]
    return SharedFit(np.tile(mean, (n_test, 1)), alpha, flat)


class _Decomposed(NamedTuple):
    """A fold's eigenvectors; `basis`: themselves (dual), or the scores X V (primal).

    primal, flat, scale, right: as in `RidgeFold`, whose Gram matrix is let go.
    """

    primal: bool
    flat: bool
    scale: float
    right: Array
    values: Array
    vectors: Array
    basis: Array

    @classmethod
    def of(cls, fold: RidgeFold) -> _Decomposed:
        kept = (fold.primal, fold.flat, fold.scale, fold.right)
        if fold.flat:
            return cls(*kept, *(np.empty(0) for _ in range(3)))
        values, vectors = np.linalg.eigh(fold.gram)
        values = np.where(values > len(fold.left) * EPS * values[-1], values, 0.0)  # else rounding
        return cls(*kept, values, vectors, fold.left @ vectors if fold.primal else vectors)


class _Solved(NamedTuple):
    """A fit at one penalty."""

    of_fold: _Decomposed
    y: Array
    alpha: float
    projected: Array

    @classmethod
    def of(cls, fold: _Decomposed, y: Array, alphas: Array) -> _Solved:
        solved = cls(fold, y, float(alphas[0]), fold.basis.T @ y)
        if len(alphas) == 1:
            return solved
        square = fold.basis**2
        errors = [solved._replace(alpha=float(alpha))._error(square) for alpha in alphas]
        return solved._replace(alpha=float(alphas[int(np.argmin(errors))]))

    @property
    def primal(self) -> bool:
        return self.of_fold.primal

    @property
    def shrinkage(self) -> Array:
        return (1.0 if self.primal else self.alpha) / (self.of_fold.values + self.alpha)

    def residual(self) -> Array:
        """(n, q) `Y − Ŷ`."""
        smooth = self.of_fold.basis @ (self.shrinkage[:, None] * self.projected)
        return self.y - smooth if self.primal else smooth

    def freedom(self, part: Index) -> Array:
        """`I − H` of some training stimuli."""
        some = self.of_fold.basis[part]
        smooth = (some * self.shrinkage) @ some.T + (1.0 if self.primal else -1.0) / len(self.y)
        return np.eye(len(part)) - smooth if self.primal else smooth

    def weights(self) -> Array:
        return self.of_fold.vectors @ (self.projected / (self.of_fold.values + self.alpha)[:, None])

    def _error(self, square: Array) -> float:
        """Sum of squared leave-one-out errors, `(y_i − ŷ_i) / (1 − h_ii)`."""
        kept = square @ self.shrinkage
        freedom = np.maximum((1.0 - kept if self.primal else kept) - 1.0 / len(self.y), EPS)
        return float(np.sum((self.residual() / freedom[:, None]) ** 2))
