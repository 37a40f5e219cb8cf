"""Centred kernel alignment: linear CKA with the unbiased estimator of HSIC. Float64 inside, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scaling.alignment.features.representation import Representation
from scaling.alignment.numerics import VARIANCE_FLOOR, Array
from scaling.errors import StudyError

MIN_STIMULI = 4  # the estimator divides by n − 3


def linear_cka(features: Representation | ArrayLike, responses: Representation | ArrayLike) -> float:
    """Linear CKA of two representations of the same stimuli, unbiased HSIC: 1 for equal, 0 on average for independent.

    `CKA = HSIC(K, M) / √(HSIC(K, K) · HSIC(M, M))`, `K = X Xᵀ`, `M = Y Yᵀ`, HSIC₁ the inner product of the
    U-centred kernels. The usual, biased HSIC scores independent wide features near 1. It sees neither rotation nor
    scale nor offset of X or Y; below 0 is possible, by chance.

    Args:
        features, responses: Representations, or (n_stimuli, ...) arrays, further axes flattened.

    Returns:
        r; 0 where the features place all stimuli at equal distances (a constant included), which tells no pair from
        another; NaN where the responses do.

    Raises:
        StudyError: fewer than 4 stimuli, numbers of stimuli that differ, or values that are not finite.

    Source: Kornblith et al. (2019), ICML, eq. 6; with HSIC₁ (Song et al. 2012, JMLR 13:1393,
    eq. 5) as Nguyen, Raghu & Kornblith (2021), ICLR, eq. 3; U-centring: Székely & Rizzo (2014), Annals of Statistics
    42:2382, definition 2. The
    ratio of unbiased estimates is not itself unbiased.
    """
    x, y = (as_representation(z) for z in (features, responses))
    if len(x) != len(y):
        raise StudyError(f"cka: features of {len(x)} stimuli, responses of {len(y)}; give the same stimuli")
    k, m = u_centred(x.kernel), u_centred(y.kernel)
    k_norm, m_norm = np.linalg.norm(k), np.linalg.norm(m)
    if not m_norm > 0:
        return float("nan")
    return float(np.clip(np.vdot(k, m) / (k_norm * m_norm), -1.0, 1.0)) if k_norm > 0 else 0.0


def u_centred(kernel: Array) -> Array:
    """The kernel with a zero diagonal and rows that sum to zero, `K_ij − r_i − r_j + g` for i ≠ j.

    `r_i = Σ_{j≠i} K_ij / (n − 2)`, `g = Σ_{i≠j} K_ij / ((n − 1)(n − 2))`. Exactly zero where what is left of the
    off-diagonal entries is rounding.

    Raises:
        StudyError: fewer than 4 stimuli.
    """
    n = len(kernel)
    if n < MIN_STIMULI:
        raise StudyError(f"cka: {n} stimuli; the unbiased estimate needs at least {MIN_STIMULI}")
    diagonal = np.diag(kernel)
    row = (kernel.sum(axis=1) - diagonal) / (n - 2)
    centred = kernel - row
    centred -= row[:, None]
    centred += row.sum() / (n - 1)
    np.fill_diagonal(centred, 0.0)
    rounding = np.vdot(centred, centred) <= VARIANCE_FLOOR**2 * np.vdot(kernel, kernel)
    return np.zeros_like(centred) if rounding else centred


def as_representation(features: Representation | ArrayLike) -> Representation:
    """The Representation itself, or that of (n_stimuli, ...) features."""
    return features if isinstance(features, Representation) else Representation.of(features)
