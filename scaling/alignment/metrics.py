"""Alignment metrics on arrays: RSA and cross-validated ridge regression. Float64 inside, no I/O, no hidden seeds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from scaling.errors import StudyError

Array = NDArray[np.float64]

# A spread smaller than this, relative to the mean square, is rounding of float32 features (resolution 6e-8), not
# signal. Assumption: no representation of interest carries its information in the last digit of float32.
VARIANCE_FLOOR = 1e-12

# Candidate penalties, in units of the mean eigenvalue of the training kernel. Assumption: ten decades, two each.
ALPHAS: Array = np.logspace(-6, 4, 21)

MIN_FOLD = 4  # stimuli in a held-out fold: r of 2 is ±1 and of 3 nearly so

_BLOCK_ELEMENTS = 2**22  # float64 working copy of the features: 32 MiB at a time


def rdm(features: ArrayLike) -> Array:
    """Representational dissimilarity matrix: 1 − Pearson r between the response patterns of two stimuli.

    `RDM[i, j] = 1 − corr(features[i], features[j])`, in [0, 2], zero on the diagonal and between patterns
    that differ only by the rounding of float32. A stimulus with the same value in every feature has no pattern: its
    correlation with any other is taken as 0, so its dissimilarity is 1.

    Args:
        features: (n_stimuli, ...) one response pattern a stimulus; further axes are flattened.

    Returns:
        (n_stimuli, n_stimuli) symmetric.

    Raises:
        StudyError: fewer than 3 stimuli, or values that are not finite.

    Source: Kriegeskorte, Mur & Bandettini (2008), Frontiers in Systems Neuroscience 2:4.
    """
    x = as_matrix(features)
    means = x.mean(axis=1, dtype=np.float64)[:, None]
    products = np.zeros((len(x), len(x)))
    for block in _column_blocks(x):
        centred = block - means
        products += centred @ centred.T
    squares = np.diag(products).copy()
    flat = squares <= VARIANCE_FLOOR * (squares + x.shape[1] * means[:, 0] ** 2)
    products[flat, :] = products[:, flat] = 0.0
    norms = np.sqrt(np.where(flat, 1.0, squares))
    dissimilarity = np.clip(1.0 - products / np.outer(norms, norms), 0.0, 2.0)
    dissimilarity[dissimilarity < VARIANCE_FLOOR] = 0.0
    np.fill_diagonal(dissimilarity, 0.0)
    return dissimilarity


def upper_triangle(square: ArrayLike) -> Array:
    """Entries above the diagonal, row by row: (..., n, n) → (..., n·(n − 1)/2)."""
    matrix = np.asarray(square, dtype=np.float64)
    rows, columns = np.triu_indices(matrix.shape[-1], k=1)
    return matrix[..., rows, columns]


def rsa(model_rdm: ArrayLike, target_rdm: ArrayLike) -> float:
    """Representational similarity: Spearman's rank correlation of two RDMs over their upper triangles.

    Ties share their mean rank. A model RDM that is constant (to rounding) tells no pair from another: r = 0. A
    constant target leaves nothing to explain: NaN.

    Args:
        model_rdm, target_rdm: (n_stimuli, n_stimuli) symmetric dissimilarities.

    Raises:
        StudyError: shapes that differ or are not square.

    Source: Kriegeskorte et al. (2008); rank correlation as Nili et al. (2014), PLoS Comput. Biol. 10:e1003553.
    """
    model, target = np.asarray(model_rdm), np.asarray(target_rdm)
    if model.shape != target.shape or model.ndim != 2 or model.shape[0] != model.shape[1]:
        raise StudyError(f"rsa: RDMs of shape {model.shape} and {target.shape}; give two square RDMs of one size")
    ranks = [_ranks(upper_triangle(x)) for x in (model, target)]
    return float(pearson(ranks[0][:, None], ranks[1][:, None])[0])


def pearson(predicted: ArrayLike, target: ArrayLike) -> Array:
    """Pearson correlation column by column: (n, q), (n, q) → (q,).

    0 where the prediction is constant (it explains nothing), NaN where the target is (nothing to explain).
    """
    predicted, target = (np.asarray(x, dtype=np.float64) for x in (predicted, target))
    predicted, target = _centre(predicted), _centre(target)
    predicted_square, target_square = np.sum(predicted**2, axis=0), np.sum(target**2, axis=0)
    scale = np.sqrt(predicted_square) * np.sqrt(target_square)
    r = np.divide(np.sum(predicted * target, axis=0), scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(target_square > 0, np.clip(r, -1.0, 1.0), np.nan)


def ridge_score(features: ArrayLike, responses: ArrayLike, n_folds: int = 5, seed: int = 0) -> float:
    """Median over neuroids of the cross-validated ridge correlation; see `ridge_correlations`.

    Constant neuroids have no correlation and are left out of the median; NaN when every neuroid is constant.
    """
    r = ridge_correlations(features, responses, n_folds, seed)
    return float(np.median(r[~np.isnan(r)])) if np.isfinite(r).any() else float("nan")


def ridge_correlations(features: ArrayLike, responses: ArrayLike, n_folds: int = 5, seed: int = 0) -> Array:
    """Pearson r per neuroid between held-out ridge predictions and responses: the mean over folds of the fold's r.

    Averaged over folds and not pooled, because pooling is biased below zero: a training mean is low exactly when its
    held-out fold is high (constant features would score −√((K − 1)/(n − 1))), and predictions grow when folds agree
    and shrink when they do not. Given its training fold, one fold's r is symmetric about 0 for features that
    predict nothing.

    Args:
        features: (n_stimuli, ...), flattened. responses: (n_stimuli, n_neuroids), mean over repetitions.

    Returns:
        (n_neuroids,), over the folds in which the neuroid varies: NaN if it varies in none; a constant prediction
        counts as r = 0.
    """
    y = _as_responses(responses)
    predictions = ridge_cv_predict(features, y, n_folds, seed)
    r = np.stack([pearson(predictions[test], y[test]) for test in fold_indices(len(y), n_folds, seed)])
    n_varying = np.count_nonzero(~np.isnan(r), axis=0)
    return np.divide(np.nansum(r, axis=0), n_varying, out=np.full(y.shape[1], np.nan), where=n_varying > 0)


def ridge_cv_predict(
    features: ArrayLike, responses: ArrayLike, n_folds: int = 5, seed: int = 0, alphas: ArrayLike = ALPHAS
) -> Array:
    """Held-out predictions of ridge regression, K folds, the penalty chosen inside each training fold.

    Minimises `‖Y_c − X_c W‖² + α‖W‖²` with X and Y centred on the training fold, in the dual form
    `W = X_cᵀ (X_c X_cᵀ + α I)^-1 Y_c`, so the cost depends on stimuli, not on features. For each neuroid α
    minimises the exact leave-one-out error (PRESS) over `alphas × mean eigenvalue of X_c X_cᵀ`: predictions do not
    change when features are rescaled.

    Args:
        features: (n_stimuli, ...), flattened. responses: (n_stimuli, n_neuroids).
        n_folds: held-out folds. seed: of the fold permutation. alphas: (n_alphas,) relative penalties, positive.

    Returns:
        (n_stimuli, n_neuroids); constant features predict the training mean.

    Raises:
        StudyError: rows that differ in number, too few stimuli for the folds, values that are not finite.

    Source: Hoerl & Kennard (1970); PRESS: Allen (1974), Technometrics 16:125; dual form: Saunders et al. (1998).
    """
    x, y = as_matrix(features), _as_responses(responses)
    if len(x) != len(y):
        raise StudyError(f"ridge: features of {len(x)} stimuli, responses of {len(y)}; give the same stimuli")
    kernel = centred_kernel(x)
    predictions = np.empty_like(y)
    for test in fold_indices(len(y), n_folds, seed):
        train = np.setdiff1d(np.arange(len(y)), test)
        predictions[test] = _predict_fold(kernel, y[train], train, test, np.asarray(alphas, dtype=np.float64))
    return predictions


def fold_indices(n_stimuli: int, n_folds: int, seed: int) -> list[NDArray[np.intp]]:
    """Held-out stimuli of each fold: a seeded permutation cut into `n_folds` parts that differ by at most one."""
    if n_folds < 2 or n_stimuli < MIN_FOLD * n_folds:
        raise StudyError(
            f"ridge: {n_stimuli} stimuli in n_folds={n_folds}; needs at least 2 folds of at least {MIN_FOLD} stimuli: "
            "give more stimuli or fewer folds"
        )
    order = np.random.default_rng(seed).permutation(n_stimuli)
    return [np.sort(fold) for fold in np.array_split(order, n_folds)]


def centred_kernel(features: ArrayLike) -> Array:
    """Linear kernel `X_c X_cᵀ` of features centred over stimuli, accumulated in blocks of features: (n, n).

    Exactly zero when the features are constant over stimuli to the resolution of float32.
    """
    x = as_matrix(features)
    kernel, mean_square = np.zeros((len(x), len(x))), 0.0
    for block in _column_blocks(x):
        mean = block.mean(axis=0)
        mean_square += len(x) * float(mean @ mean)
        block -= mean
        kernel += block @ block.T
    spread = float(np.trace(kernel))
    return kernel if spread > VARIANCE_FLOOR * (spread + mean_square) else np.zeros_like(kernel)


def as_matrix(features: ArrayLike) -> NDArray[np.floating]:
    """Features as (n_stimuli, n_features), floating point, refused when not finite or of fewer than 3 stimuli."""
    x = np.asarray(features)
    if x.ndim < 2 or len(x) < 3 or x.size == 0:
        raise StudyError(f"features of shape {x.shape}; give (n_stimuli, ...) with at least 3 stimuli, none empty")
    x = x.reshape(len(x), -1)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    bad = int(x.size - np.count_nonzero(np.isfinite(x)))
    if bad:
        raise StudyError(
            f"features: {bad:,} of {x.size:,} values are NaN or infinite; score a run that has not diverged"
        )
    return x


def _as_responses(responses: ArrayLike) -> Array:
    y = np.asarray(responses, dtype=np.float64)
    if y.ndim != 2 or not np.isfinite(y).all():
        raise StudyError(
            f"responses of shape {y.shape} with {int((~np.isfinite(y)).sum())} values that are not finite; "
            "give finite (n_stimuli, n_neuroids)"
        )
    return y


def _column_blocks(x: NDArray[np.floating]) -> Iterator[Array]:
    """Float64 copies of consecutive columns, bounded in memory whatever the width."""
    width = max(1, _BLOCK_ELEMENTS // len(x))
    for start in range(0, x.shape[1], width):
        yield x[:, start : start + width].astype(np.float64)


def _ranks(values: Array) -> Array:
    constant = np.ptp(values) <= VARIANCE_FLOOR * np.max(np.abs(values))
    return np.zeros_like(values) if constant else rankdata(values)


def _centre(values: Array) -> Array:
    """Minus the column mean; a column that varies only by rounding becomes exactly zero."""
    centred = values - values.mean(axis=0)
    squares = np.sum(centred**2, axis=0)
    centred[:, squares <= VARIANCE_FLOOR**2 * np.sum(values**2, axis=0)] = 0.0
    return centred


def _predict_fold(kernel: Array, y: Array, train: NDArray[np.intp], test: NDArray[np.intp], alphas: Array) -> Array:
    """Predictions (n_test, n_neuroids) from the kernel centred on the training fold."""
    inner = kernel[np.ix_(train, train)]
    column_mean = inner.mean(axis=0)
    inner = inner - column_mean - column_mean[:, None] + column_mean.mean()
    cross = kernel[np.ix_(test, train)]
    cross = cross - cross.mean(axis=1, keepdims=True) - column_mean + column_mean.mean()
    scale = np.trace(inner) / len(train)
    if not scale > 0:
        return np.broadcast_to(y.mean(axis=0), (len(test), y.shape[1]))
    return cross @ _dual_weights(inner, y - y.mean(axis=0), alphas * scale) + y.mean(axis=0)


def _dual_weights(kernel: Array, y: Array, alphas: Array) -> Array:
    """`(K + α I)^-1 Y` with each neuroid's α of least leave-one-out error; K and Y centred.

    Leave-one-out residual (the mean is refitted too): `(y_i − ŷ_i) / (1 − h_ii)`, `h = 1/n + Q² λ/(λ + α)`.
    """
    eigenvalues, vectors = np.linalg.eigh(kernel)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    projected, squared = vectors.T @ y, vectors**2
    errors = np.empty((len(alphas), y.shape[1]))
    for error, alpha in zip(errors, alphas, strict=True):
        shrinkage = eigenvalues / (eigenvalues + alpha)
        leverage = 1.0 / len(y) + squared @ shrinkage
        residual = (y - vectors @ (shrinkage[:, None] * projected)) / (1.0 - leverage)[:, None]
        error[:] = np.mean(residual**2, axis=0)
    best = alphas[np.argmin(errors, axis=0)]
    return vectors @ (projected / (eigenvalues[:, None] + best))
