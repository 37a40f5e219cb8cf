"""What a term of a law scales with: an axis, an axis with a shift, or images worn by repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.columns import Array


@dataclass(frozen=True)
class Coordinate:
    """ln of what a term scales with, as a function of axes X and the log of its shape parameter (phi).

    `value(X, phi)` returns (ln x, its derivative in phi); phi has shape (P, 1) and X holds arrays (n,).
    """

    n_axes: int
    value: Callable[[Sequence[Array], Array | None], tuple[Array, Array | None]]
    shape: str | None = None
    shape_range: Callable[[Sequence[Array]], tuple[float, float]] | None = None
    shape_natural: Callable[[Array, Sequence[Array]], Array] | None = None


def _plain(X: Sequence[Array], phi: Array | None) -> tuple[Array, Array | None]:
    return np.log(X[0]), None


def _shifted(X: Sequence[Array], phi: Array | None) -> tuple[Array, Array | None]:
    """ln(x + shift) with phi = ln(x_min + shift), so that the reference ln(x_min + shift) is phi itself."""
    assert phi is not None
    base = np.exp(phi)
    beyond = (X[0] - X[0].min()) / base
    return phi + np.log1p(beyond), 1.0 / (1.0 + beyond)


def _repeated(X: Sequence[Array], phi: Array | None) -> tuple[Array, Array | None]:
    """ln of the effective number of images, unique * (1 + R* (1 - exp(-R/R*))), R = epochs - 1, phi = ln R*."""
    assert phi is not None
    unique = np.minimum(X[0], X[1])
    repeats, r_star = X[1] / unique - 1.0, np.exp(phi)
    worn = np.exp(-repeats / r_star)
    effective = 1.0 + r_star * (1.0 - worn)
    return np.log(unique * effective), (r_star * (1.0 - worn) - repeats * worn) / effective


PLAIN = Coordinate(1, _plain)
SHIFTED = Coordinate(
    1,
    _shifted,
    "shift",
    lambda X: (float(np.log(X[0].min())), float(np.log(X[0].max())) + 14.0),
    lambda phi, X: X[0].min() * np.expm1(phi - np.log(X[0].min())),  # exactly 0 where no shift is the best
)
REPEATED = Coordinate(
    2,
    _repeated,
    "R_star",
    lambda X: (float(np.log(1e-2)), float(np.log(1e4))),
    lambda phi, X: np.exp(phi),
)
