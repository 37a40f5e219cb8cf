"""PLS regression equal to scikit-learn's, for many splits and neuroids from one kernel (or narrow features)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.pls_folds import Folds, Left, Neuroids
from scaling.alignment.metrics.splits import StimulusSplit, check_splits
from scaling.alignment.numerics import Array, as_responses
from scaling.errors import StudyError

PRIMAL_WIDTH = 0.6  # features a stimulus up to which features are cheaper than the kernel (measured)
MEMORY_BYTES = 2**28  # working arrays of the splits that are advanced together


class PLSFit(NamedTuple):
    """Held-out predictions, a (n_test, n_neuroids) array a split, and the power iterations of each component.

    A component of `max_iter` iterations stopped before it converged, as scikit-learn's then does with a warning.
    """

    predictions: list[Array]
    n_iter: list[list[int]]


def pls_predictions(
    rep: Representation,
    responses: ArrayLike,
    splits: Sequence[StimulusSplit],
    n_components: int = 25,
    tol: float = 1e-6,
    max_iter: int = 500,
) -> list[Array]:
    """Held-out predictions of `fit_pls`: a (n_test, n_neuroids) array a split."""
    return fit_pls(rep, responses, splits, n_components, tol, max_iter).predictions


def fit_pls(
    rep: Representation,
    responses: ArrayLike,
    splits: Sequence[StimulusSplit],
    n_components: int = 25,
    tol: float = 1e-6,
    max_iter: int = 500,
) -> PLSFit:
    """Partial least squares of responses on features, fitted and predicted in every split.

    As scikit-learn's `PLSRegression(n_components, scale=False, tol=tol, max_iter=max_iter)` (NIPALS with its early
    stop; neither SIMPLS nor exact singular vectors): equal iteration counts, predictions equal to rounding. With X
    and Y centred on the training stimuli, component k iterates `w ∝ X_kᵀ Y_k c, c ∝ Y_kᵀ X_k w` from the first
    column of Y_k that varies until `‖Δw‖² < tol`; then `t = X_k w`, `X_k+1 = (I − t tᵀ/tᵀt) X_k`, and so Y_k+1.

    Only q × q matrices are iterated: `w = X_kᵀ Y_k c / ‖·‖` and `c ∝ M c`, `M = Y_kᵀ K Y_k`, `K = X Xᵀ`, since
    `X_kᵀ Y_k = Xᵀ Y_k`: X is never deflated, and all splits read one K.

    Args:
        rep: n stimuli. responses: (n, q), finite. splits: the stimuli to fit and those to predict.
        n_components: components at most. tol, max_iter: of the power iteration.

    Returns:
        Predictions and iteration counts. The order of the training stimuli and the number of threads change
        predictions by rounding only (1e-11 of the responses), counts not at all.

    Raises:
        StudyError: rows that differ in number, fewer training stimuli or features than components, responses that
            are not finite, splits that are empty or overlap.

    Deviations: where Y_k has become constant no further component is fitted, as in scikit-learn. Where X_k no longer
    covaries with Y_k beyond rounding (its rank is used up, constant features), scikit-learn goes on to fit rounding
    errors, or to NaN; here fitting stops: constant features predict the training mean. The kernel squares X: features
    whose covariance with the residual falls below 1e-7 of the first component's are lost in it.

    Source: Wegelin (2000), A survey of partial least squares methods, section 4.1; kernel form: Lindgren, Geladi &
    Wold (1993), J. Chemometrics 7:45.
    """
    y = as_responses(responses)
    _check(rep, y, splits, (n_components, tol, max_iter))
    neuroids = Neuroids.of(y)
    left = Left.of(rep, neuroids.values, PRIMAL_WIDTH)
    fit = PLSFit([], [])
    for group in _groups(splits, left, n_components):
        folds = Folds(left, neuroids, group, n_components)
        for k in range(n_components):
            folds.advance(k, tol, max_iter if y.shape[1] > 1 else 1)  # one neuroid has one direction
        fit.predictions.extend(folds.predictions())
        fit.n_iter.extend(folds.n_iter)
    return fit


def _check(rep: Representation, y: Array, splits: Sequence[StimulusSplit], settings: tuple[int, float, int]) -> None:
    n_components, tol, max_iter = settings
    if len(rep) != len(y):
        raise StudyError(f"PLS: features of {len(rep)} stimuli, responses of {len(y)}; give the same stimuli")
    if not y.shape[1]:
        raise StudyError(f"PLS: responses of shape {y.shape}; give at least one neuroid")
    if n_components < 1 or max_iter < 1 or not 0.0 <= tol < 1.0:
        raise StudyError(
            f"PLS: n_components={n_components}, max_iter={max_iter}, tol={tol}; give at least 1, at least 1 and a "
            "tolerance in [0, 1)"
        )
    check_splits(splits, len(y))
    for name, count in (("training stimuli", min(len(s.train) for s in splits)), ("features", rep.n_features)):
        if count < n_components:
            raise StudyError(f"PLS: {count} {name} for n_components={n_components}; give more or ask for fewer")


def _groups(splits: Sequence[StimulusSplit], left: Left, n_components: int) -> Iterator[Sequence[StimulusSplit]]:
    """Consecutive splits whose working arrays fit into `MEMORY_BYTES` together."""
    (n, width), r = left.matrix.shape, left.whole.shape[1]
    size = max(1, MEMORY_BYTES // (8 * (2 * width * r + 3 * r**2 + n_components * (n + width + r))))
    for start in range(0, len(splits), size):
        yield splits[start : start + size]
