"""Ridge regression with a fixed penalty or one chosen per neuroid by leave-one-out, from one kernel for all splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.splits import StimulusSplit, check_splits
from scaling.alignment.numerics import VARIANCE_FLOOR, Array, as_responses
from scaling.errors import StudyError

# Candidate penalties, in units of the mean eigenvalue of the training kernel. Assumption: ten decades, two each.
ALPHAS: Array = np.logspace(-6, 4, 21)


EPS = float(np.finfo(np.float64).eps)


class RidgeFold(NamedTuple):
    """One split, centred on its training stimuli: `gram` is X Xᵀ (dual) or Xᵀ X (primal).

    Attributes:
        left: (n_train, d) what weights multiply from the left: the gram itself (dual) or X (primal); `right` its
            rows for the held-out stimuli, (n_test, d).
        flat: the features are constant over the training stimuli, to rounding.
    """

    gram: Array
    left: Array
    right: Array
    primal: bool
    flat: bool

    @property
    def scale(self) -> float:
        """Mean eigenvalue of the (n_train, n_train) kernel."""
        return float(np.trace(self.gram)) / len(self.left)


def ridge_cv_predictions(
    rep: Representation,
    responses: ArrayLike,
    splits: Sequence[StimulusSplit],
    alphas: ArrayLike = ALPHAS,
    relative: bool = True,
) -> list[Array]:
    """Held-out predictions of ridge regression with the penalty chosen inside each training part.

    Minimises `‖Y_c − X_c W‖² + α‖W‖²` with X and Y centred on the training stimuli: `W = (X_cᵀ X_c + α I)^-1 X_cᵀ Y_c`
    where features are fewer than training stimuli, else `W = X_cᵀ (X_c X_cᵀ + α I)^-1 Y_c`. For each neuroid α
    minimises the exact leave-one-out error (PRESS, the mean refitted too) over `alphas`, the first of equals; a single
    α is a fixed penalty, as scikit-learn's `Ridge(alpha)` where not relative. One eigendecomposition a split serves
    all penalties and neuroids: give the neuroids of all regions together.

    Args:
        rep: n stimuli. responses: (n, q), finite. splits: the stimuli to fit and those to predict.
        alphas: (n_alphas,) penalties, positive. relative: in units of the mean eigenvalue of the training kernel, so
            that predictions do not change when features are rescaled; otherwise absolute, as scikit-learn's
            `RidgeCV(alphas, alpha_per_target=True)`.

    Returns:
        A (n_test, q) array a split; constant features predict the training mean.

    Raises:
        StudyError: rows that differ in number, a penalty that is not positive, responses that are not finite, splits
            that are empty or overlap.

    Source: Hoerl & Kennard (1970), Technometrics 12:55; dual form: Saunders, Gammerman & Vovk (1998), ICML;
    PRESS: Allen (1974), Technometrics 16:125; Rifkin & Lippert (2007), MIT-CSAIL-TR-2007-025.
    """
    penalties = check_alphas(alphas)
    y = as_responses(responses)
    if len(rep) != len(y):
        raise StudyError(f"ridge: features of {len(rep)} stimuli, responses of {len(y)}; give the same stimuli")
    check_splits(splits, len(y))
    predictions = []
    for split in splits:
        mean, fold = y[split.train].mean(axis=0), ridge_fold(rep, split)
        constant = np.tile(mean, (len(split.test), 1))
        if not fold.flat:
            weights = _weights(fold, y[split.train] - mean, penalties * (fold.scale if relative else 1.0))
            constant = constant + fold.right @ weights
        predictions.append(constant)
    return predictions


def ridge_fold(rep: Representation, split: StimulusSplit) -> RidgeFold:
    """Centre one split: primal where the features are kept and narrower than the training stimuli."""
    if rep.features is not None and rep.n_features < len(split.train):
        x = rep.features[split.train]
        mean, before = x.mean(axis=0), float(np.vdot(x, x))
        x -= mean
        gram, left, right, primal = x.T @ x, x, rep.features[split.test] - mean, True
    else:
        gram = rep.kernel[np.ix_(split.train, split.train)]
        mean, before = gram.mean(axis=0), float(np.trace(gram))
        centre = mean - mean.mean() / 2
        gram -= centre
        gram -= centre[:, None]
        right = rep.kernel[np.ix_(split.test, split.train)]
        right -= right.mean(axis=1, keepdims=True)
        right -= mean - mean.mean()
        left, primal = gram, False
    return RidgeFold(gram, left, right, primal, flat=not np.trace(gram) > VARIANCE_FLOOR * before)


def _weights(fold: RidgeFold, y: Array, alphas: Array) -> Array:
    """(d, q) weights with each neuroid's α of least leave-one-out error; y centred.

    Leave-one-out residual: `(y_i − ŷ_i) / (1 − h_ii)`. With eigenvectors Q of the kernel (dual) `Y − Ŷ = Q s QᵀY` and
    `1 − h = Q² s − 1/n`, `s = α/(λ + α)`; with the scores P = X V of the covariance's (primal) `Ŷ = P s' PᵀY` and
    `h = 1/n + P² s'`, `s' = 1/(λ + α)`.
    """
    eigenvalues, vectors = np.linalg.eigh(fold.gram)
    eigenvalues = np.where(eigenvalues > len(y) * EPS * eigenvalues[-1], eigenvalues, 0.0)[:, None]  # else rounding
    basis = fold.left @ vectors if fold.primal else vectors
    projected = basis.T @ y
    shrinkage = (1.0 if fold.primal else alphas) / (eigenvalues + alphas)
    kept = basis**2 @ shrinkage
    freedom = np.maximum((1.0 - kept if fold.primal else kept) - 1.0 / len(y), EPS)
    errors = np.empty((len(alphas), y.shape[1]))
    for error, s, free in zip(errors, shrinkage.T, freedom.T, strict=True):
        residual = basis @ (s[:, None] * projected)
        if fold.primal:
            residual -= y
        residual /= free[:, None]
        np.einsum("iq,iq->q", residual, residual, out=error)
    return vectors @ (projected / (eigenvalues + alphas[np.argmin(errors, axis=0)]))


def check_alphas(alphas: ArrayLike) -> Array:
    values = np.asarray(alphas, dtype=np.float64)
    if values.ndim != 1 or not values.size or not (np.isfinite(values) & (values > 0)).all():
        raise StudyError(f"ridge: alphas {values.tolist()}; give a list of finite penalties above 0")
    return values
