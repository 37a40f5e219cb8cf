"""Representational similarity analysis: dissimilarity matrices, compared by ranks, linearly or whitened. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.features.representation import Representation
from scaling.alignment.numerics import VARIANCE_FLOOR, Array, mean_ranks, pearson
from scaling.errors import StudyError, known_names

RsaKind = Literal["spearman", "pearson", "whitened", "whitened_cosine"]


def rdm(features: Representation | ArrayLike) -> Array:
    """Representational dissimilarity matrix: 1 − Pearson r between the response patterns of two stimuli.

    `RDM[i, j] = 1 − corr(features[i], features[j])`, in [0, 2], zero on the diagonal and between patterns
    that differ only by the rounding of float32. A stimulus with the same value in every feature has no pattern: its
    correlation with any other is taken as 0, so its dissimilarity is 1.

    Args:
        features: a Representation, or (n_stimuli, ...) one response pattern a stimulus, further axes flattened.

    Returns:
        (n_stimuli, n_stimuli) symmetric.

    Raises:
        StudyError: fewer than 3 stimuli, or values that are not finite.

    Source: Kriegeskorte, Mur & Bandettini (2008), Frontiers in Systems Neuroscience 2:4.
    """
    x = features if isinstance(features, Representation) else Representation.of(features)
    products = x.products()
    squares = np.diag(products).copy()
    flat = squares <= 0.0
    squares[flat] = 1.0
    norms = np.sqrt(squares)
    dissimilarity = np.clip(1.0 - products / norms / norms[:, None], 0.0, 2.0)
    # patterns on a large offset differ by more of its rounding
    offset = np.sqrt(1.0 + x.n_features * x.row_mean**2 / squares) * ~flat
    dissimilarity[dissimilarity < VARIANCE_FLOOR * np.outer(offset, offset)] = 0.0
    np.fill_diagonal(dissimilarity, 0.0)
    return dissimilarity


def upper_triangle(square: ArrayLike) -> Array:
    """Entries above the diagonal, row by row: (..., n, n) → (..., n·(n − 1)/2)."""
    matrix = np.asarray(square, dtype=np.float64)
    rows, columns = pairs_of(matrix.shape[-1])
    return matrix[..., rows, columns]


@lru_cache(maxsize=8)
def pairs_of(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(i, j) of all pairs i < j of n, in the order of `upper_triangle`; shared, so not to be written to."""
    rows, columns = np.triu_indices(n, k=1)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def rsa(model_rdm: ArrayLike, target_rdm: ArrayLike, kind: RsaKind = "spearman") -> float:
    """Representational similarity: a correlation of two RDMs over their upper triangles, d₁ and d₂.

    - `spearman`: Pearson's r of the ranks; ties share their mean rank.
    - `pearson`: r of the dissimilarities.
    - `whitened`: `d₁ᵀV⁻¹d₂ / √(d₁ᵀV⁻¹d₁ · d₂ᵀV⁻¹d₂)` with the mean taken off d₁ and d₂; V is their covariance
      when all patterns are equal and noise is independent between stimuli, see `whitened_products`.
    - `whitened_cosine`: the same without taking off the mean, for dissimilarities with a meaningful zero.

    A model RDM that is constant (to rounding; all zero for the cosine) tells no pair from another: r = 0. A target
    like that leaves nothing to explain: NaN.

    Args:
        model_rdm, target_rdm: (n_stimuli, n_stimuli) symmetric dissimilarities, only the upper triangle is read.

    Raises:
        StudyError: an unknown kind, shapes that differ or are not square, values that are not finite.

    Source: Kriegeskorte et al. (2008); ranks as Nili et al. (2014), PLoS Comput. Biol. 10:e1003553; whitened:
    Diedrichsen et al. (2021), Neurons, Behavior, Data analysis and Theory 5(3), as `corr_cov` and `cosine_cov` of the
    rsatoolbox without `sigma_k`. Its V holds for squared Euclidean distances; 1 − r is one, of patterns that are
    centred and scaled to length 1/√2.
    """
    model, target = check_rdms(model_rdm, target_rdm)
    if kind not in _CORRELATIONS:
        raise StudyError(f"rsa: kind {kind!r}; {known_names(str(kind), get_args(RsaKind))}")
    return _CORRELATIONS[kind](upper_triangle(model), upper_triangle(target))


def check_rdms(model_rdm: ArrayLike, target_rdm: ArrayLike) -> tuple[Array, Array]:
    """Two square, finite float64 RDMs of one size.

    Raises:
        StudyError: shapes that differ or are not square, fewer than 3 stimuli, values that are not finite.
    """
    model, target = (np.asarray(x, dtype=np.float64) for x in (model_rdm, target_rdm))
    if model.shape != target.shape or model.ndim != 2 or model.shape[0] != model.shape[1] or len(model) < 3:
        raise StudyError(
            f"rsa: RDMs of shape {model.shape} and {target.shape}; give two square RDMs of one size, 3 stimuli or more"
        )
    for name, values in (("model", model), ("target", target)):
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        if bad:
            raise StudyError(
                f"rsa: {bad:,} of {values.size:,} dissimilarities of the {name} RDM are NaN or infinite; "
                "drop the stimuli that were not measured"
            )
    return model, target


def ranks(values: Array) -> Array:
    """Ranks, ties sharing their mean rank; all zero when the values are constant to rounding."""
    constant = np.ptp(values) <= VARIANCE_FLOOR * np.max(np.abs(values))
    return np.zeros_like(values) if constant else mean_ranks(values)


def whitened_products(first: Array, second: Array) -> Array:
    """`dᵀV⁻¹d'` of two vectors of dissimilarities: [[d₁V⁻¹d₁, d₁V⁻¹d₂], [d₂V⁻¹d₁, d₂V⁻¹d₂]], in O(n²).

    `V = (C Cᵀ)∘²` with one row e_i − e_j of C for each pair: V = 4 on the diagonal, 1 between pairs that share
    one stimulus, else 0. It has three eigenspaces: constant d (2n), effects of single stimuli `d_ij = a_i + a_j`,
    `Σa = 0` (n), and the rest (2); so V⁻¹ needs only the mean over the pairs of each stimulus.

    Args:
        first, second: (n·(n − 1)/2,), n ≥ 3, in the order of `upper_triangle`.
    """
    pairs = np.stack([first, second])
    n = round((1 + np.sqrt(1 + 8 * pairs.shape[1])) / 2)
    rows, columns = pairs_of(n)
    mean = pairs.mean(axis=1, keepdims=True)
    centred = pairs - mean
    sums = np.stack([np.bincount(rows, d, n) + np.bincount(columns, d, n) for d in centred])
    effects = sums / (n - 2)  # Σ_j (a_i + a_j) over j ≠ i is (n − 2) a_i, as Σa = 0
    rest = centred - effects[:, rows] - effects[:, columns]
    # the squared norm of a_i + a_j over the pairs is (n − 2) ‖a‖²
    return pairs.shape[1] * mean @ mean.T / (2 * n) + (n - 2) * effects @ effects.T / n + rest @ rest.T / 2


def _pearson(model: Array, target: Array) -> float:
    return float(pearson(model[:, None], target[:, None])[0])


def _whitened(model: Array, target: Array) -> float:
    return _whitened_cosine(_minus_mean(model), _minus_mean(target))


def _whitened_cosine(model: Array, target: Array) -> float:
    products = whitened_products(model, target)
    if not products[1, 1] > 0:
        return float("nan")
    scale = np.sqrt(products[0, 0]) * np.sqrt(products[1, 1])
    return float(np.clip(products[0, 1] / scale, -1.0, 1.0)) if scale > 0 else 0.0


def _minus_mean(values: Array) -> Array:
    """Minus the mean; exactly zero when the values are constant to rounding."""
    constant = np.ptp(values) <= VARIANCE_FLOOR * np.max(np.abs(values))
    return np.zeros_like(values) if constant else values - values.mean()


_CORRELATIONS: dict[str, Callable[[Array, Array], float]] = {
    "spearman": lambda model, target: _pearson(ranks(model), ranks(target)),
    "pearson": _pearson,
    "whitened": _whitened,
    "whitened_cosine": _whitened_cosine,
}
