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


ROUNDING = 1e-9  # share of ‖Y‖² by which sums of squares may be off; generous


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
        solved = _Solved.of(of, y[split.train] - mean)
        residual = solved.residual()
        left_out = [y[split.train][t] - np.linalg.solve(solved.freedom(t), residual[t]) for t in inner]
        return SharedFit(mean + of.right @ solved.weights(), solved.alpha, left_out)

    def _decomposed(self, split: StimulusSplit) -> _Decomposed:
        key = split.train.tobytes() + b"|" + split.test.tobytes()
        if key not in self._known:
            self._known[key] = _Decomposed.of(ridge_fold(self._rep, split), self._alphas, self._relative)
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

    primal, flat, right: as in `RidgeFold`, whose Gram matrix is let go. alphas: absolute. freedom: (n, n_alphas)
    `1 − h_ii` at each, where there are several.
    """

    primal: bool
    flat: bool
    right: Array
    alphas: Array
    values: Array
    vectors: Array
    basis: Array
    freedom: Array

    @classmethod
    def of(cls, fold: RidgeFold, alphas: Array, relative: bool) -> _Decomposed:
        penalties = alphas * (fold.scale if relative else 1.0)
        kept = (fold.primal, fold.flat, fold.right, penalties)
        if fold.flat:
            return cls(*kept, *(np.empty(0) for _ in range(4)))
        values, vectors = np.linalg.eigh(fold.gram)
        values = np.where(values > len(fold.left) * EPS * values[-1], values, 0.0)  # else rounding
        found = cls(*kept, values, vectors, fold.left @ vectors if fold.primal else vectors, np.empty(0))
        return found if len(alphas) == 1 else found._replace(freedom=found._freedom())

    def shrinkage(self, alphas: Array) -> Array:
        """(d, n_alphas)"""
        return (1.0 if self.primal else alphas) / (self.values[:, None] + alphas)

    def _freedom(self) -> Array:
        kept = self.basis**2 @ self.shrinkage(self.alphas)
        return np.maximum((1.0 - kept if self.primal else kept) - 1.0 / len(self.basis), EPS)

    def left_over(self, y: Array, projected: Array) -> Array:
        """(n_alphas,) `‖Y − Ŷ‖²`, from the norms of the projections alone; `projected = basisᵀ Y`."""
        energy, shrinkage = np.sum(projected**2, axis=1), self.shrinkage(self.alphas)
        if not self.primal:
            return energy @ shrinkage**2
        return np.maximum(np.vdot(y, y) - energy @ (2 * shrinkage - self.values[:, None] * shrinkage**2), 0.0)


class _Solved(NamedTuple):
    """A fit at one penalty."""

    of_fold: _Decomposed
    y: Array
    alpha: float
    projected: Array

    @classmethod
    def of(cls, fold: _Decomposed, y: Array) -> _Solved:
        """At the penalty of least leave-one-out error, `Σ_i ‖y_i − ŷ_i‖² / (1 − h_ii)²`; the first of equals.

        The error is at least ‖Y − Ŷ‖² over the largest (1 − h_ii)². Penalties for which that is more than an error that
        is known already are not tried, those that promise least are tried first: the choice is that among all.
        """
        alphas, projected = fold.alphas, fold.basis.T @ y
        solved = cls(fold, y, float(alphas[0]), projected)
        if len(alphas) == 1:
            return solved
        left_over = fold.left_over(y, projected)
        least = left_over - ROUNDING * np.vdot(y, y)
        least /= fold.freedom.max(axis=0) ** 2
        errors = np.full(len(alphas), np.inf)
        for i in np.argsort(left_over / fold.freedom.mean(axis=0) ** 2, kind="stable"):
            if not least[i] > errors.min():
                errors[i] = solved._replace(alpha=float(alphas[i]))._error(fold.freedom[:, i])
        return solved._replace(alpha=float(alphas[int(np.argmin(errors))]))

    @property
    def primal(self) -> bool:
        return self.of_fold.primal

    @property
    def shrinkage(self) -> Array:
        return self.of_fold.shrinkage(np.array([self.alpha]))[:, 0]

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

    def _error(self, freedom: Array) -> float:
        return float(np.sum((self.residual() / freedom[:, None]) ** 2))
