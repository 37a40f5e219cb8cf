"""A law laid over data: predictions and Jacobians of many parameter vectors at once.

Inside the solver a term is exp(a - alpha * u) with u = ln(x / x_ref) >= 0 and x_ref the smallest x of the data, so
that nothing overflows; `Design.natural` turns the solver's vector back into natural units.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.coordinates import SHIFTED
from analysis.fit.forms import Form, Term
from analysis.fit.workspace import Workspace

EXPONENT_LIMIT = 50.0  # assumption: beyond it a term touches the cheapest point alone and no exponent is measured
LOG_LIMIT = 700.0  # ln of the largest coefficient in natural units; float64 ends at 709
LEAST = 1e-60  # predictions stay above it, so that their logarithm and its square do
COEFFICIENT_FLOOR = 1e-13  # assumption: a term this small beside y is no term


@dataclass(frozen=True)
class DesignBlock:
    """Parameters that share a factor: d ln(y)/d theta[where] = share * features."""

    share: Array  # (P, n)
    features: Array  # (n, m), or (P, n, m) where a shape parameter moves the coordinate
    where: slice


class Design:
    """A form laid over data: predictions and Jacobians for a batch of parameter vectors.

    form: the law; X: its axes, arrays (n,), natural units, > 0; group: integers (n,) for shared exponents.
    """

    def __init__(
        self, form: Form, X: Sequence[Array], group: npt.NDArray[np.int64] | None = None, groups: Sequence[str] = ()
    ) -> None:
        self.form, self.X, self.groups = form, [np.asarray(x, dtype=np.float64) for x in X], tuple(groups)
        self.group = np.zeros(len(self.X[0]), dtype=np.int64) if group is None else group
        self.one_hot: Array = np.eye(max(1, len(groups)))[self.group]
        self.names = form.params(groups)
        self.reference = [self._reference(term) for term in form.terms]
        self.fixed = [self._fixed(k) for k in range(len(form.terms))]
        self.middle = [0.0 if f is None else float(np.median(-f[:, -1])) for f in self.fixed]
        self._wheres = [self._where(k) for k in range(len(form.terms))]
        self._products: dict[tuple[int, int], Array] = {}

    @property
    def n_params(self) -> int:
        return len(self.names)

    @property
    def n_groups(self) -> int:
        return self.one_hot.shape[1]

    def subset(self, rows: npt.NDArray[np.int64]) -> Design:
        """The design on some rows, with this design's reference scales, so that theta means the same."""
        part = copy(self)
        part.X, part.group, part.one_hot = [x[rows] for x in self.X], self.group[rows], self.one_hot[rows]
        part.fixed = [None if f is None else f[rows] for f in self.fixed]
        part._products = {}
        return part

    def over(self, X: Sequence[Array], group: npt.NDArray[np.int64]) -> Design:
        """The design at other points of the same range, with this design's reference scales."""
        part = copy(self)
        part.X, part.group, part.one_hot = list(X), group, np.eye(self.n_groups)[group]
        part.fixed = [part._fixed(k) for k in range(len(self.form.terms))]
        part._products = {}
        return part

    def _axes(self, term: Term) -> list[Array]:
        return [self.X[i] for i in term.axes]

    def _reference(self, term: Term) -> float:
        """ln x_ref of a term without shape: its smallest x (with a shape the reference moves with it)."""
        return float(np.log(np.minimum.reduce(self._axes(term)).min()))

    def _fixed(self, k: int) -> Array | None:
        """Features (n, G + 1) of a term whose coordinate has no shape parameter."""
        term = self.form.terms[k]
        if term.coordinate.shape is not None:
            return None
        log_x, _ = term.coordinate.value(self._axes(term), None)
        return np.column_stack([self.one_hot, self.reference[k] - log_x])

    def where(self, k: int) -> slice:
        """Where the parameters of term k stand in theta: coefficients, exponent, then the shape."""
        return self._wheres[k]

    def _where(self, k: int) -> slice:
        start = self.n_groups
        for term in self.form.terms[:k]:
            start += self.n_groups + 1 + (term.coordinate.shape is not None)
        shape = self.form.terms[k].coordinate.shape is not None
        return slice(start, start + self.n_groups + 1 + shape)

    def evaluate(self, theta: Array, work: Workspace | None = None) -> tuple[Array, list[DesignBlock]]:
        """Predictions (P, n) and Jacobian blocks of their logarithm at theta (P, p).

        work: memory that they may stand in, until it is given again.
        """
        work = work or Workspace()
        shape = (len(theta), len(self.group))
        prediction = np.matmul(theta[:, : self.n_groups], self.one_hot.T, out=work("prediction", *shape))
        values, features = [], []
        for k in range(len(self.form.terms)):
            value, feature = self._term(k, theta[:, self.where(k)], out=work(f"term {k}", *shape))
            prediction += value
            values.append(value)
            features.append(feature)
        np.maximum(prediction, LEAST, out=prediction)
        inverse = np.divide(1.0, prediction, out=work("inverse", *shape))
        blocks = [DesignBlock(inverse, self.one_hot, slice(0, self.n_groups))]
        for k, (value, feature) in enumerate(zip(values, features, strict=True)):
            value *= inverse
            blocks.append(DesignBlock(value, feature, self.where(k)))
        return prediction, blocks

    def products(self, first: int, second: int) -> Array:
        """Products (n, ma * mb) of the features of two blocks that no shape parameter moves (see `evaluate`), kept."""
        if (first, second) not in self._products:
            a, b = (self.one_hot if i == 0 else self.fixed[i - 1] for i in (first, second))
            assert a is not None
            assert b is not None
            self._products[first, second] = (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
        return self._products[first, second]

    def predict(self, theta: Array) -> Array:
        """Predictions (P, n) at theta (P, p)."""
        prediction: Array = theta[:, : self.n_groups] @ self.one_hot.T
        for k in range(len(self.form.terms)):
            prediction = prediction + self._term(k, theta[:, self.where(k)], jacobian=False)[0]
        return np.maximum(prediction, LEAST)

    def _term(self, k: int, part: Array, jacobian: bool = True, out: Array | None = None) -> tuple[Array, Array]:
        """Value (P, n) of term k, in `out` where it is given, and the features of its logarithm."""
        fixed, G = self.fixed[k], self.n_groups
        if fixed is not None:
            logged = np.matmul(part, fixed.T, out=out)
            return np.exp(logged, out=logged), fixed
        term = self.form.terms[k]
        phi = part[:, G + 1 :]
        log_x, slope = term.coordinate.value(self._axes(term), phi)
        reference, reference_slope = self._moving_reference(term, k, phi)
        u, alpha = log_x - reference, part[:, G : G + 1]
        value = np.exp(part[:, :G] @ self.one_hot.T - alpha * u)
        if not jacobian:
            return value, u
        assert slope is not None
        hot = np.broadcast_to(self.one_hot, (len(part), *self.one_hot.shape))
        feature = np.concatenate([hot, -u[..., None], (-alpha * (slope - reference_slope))[..., None]], axis=2)
        return value, feature

    def _moving_reference(self, term: Term, k: int, phi: Array) -> tuple[Array, float]:
        return (phi, 1.0) if term.coordinate is SHIFTED else (np.full_like(phi, self.reference[k]), 0.0)

    def retract(self, theta: Array, step: Array, lower: Array) -> Array:
        """theta moved by `step` along a curve that keeps level and slope at the middle of the data to second order.

        E, A and alpha trade off along a bent valley: E + A e^(-alpha u) keeps its level c = E + A' and its slopes
        s = alpha A', A' = A e^(-alpha u0), while the exponent moves. So the step is taken in (c, s, alpha) and mapped
        back; an offset below its limit stays there and gives its share to the terms. Straight where E rests on it.
        """
        moved, G = theta + step, self.n_groups
        if not self.form.terms:
            return moved
        low, bound = lower[:, :G], theta[:, :G] <= lower[:, :G]
        bent = [self._bend(k, theta, step, bound) for k in range(len(self.form.terms))]
        level = moved[:, :G] + sum(change for _, _, change in bent)
        total = sum(height for _, height, _ in bent)
        offset = np.where(bound, moved[:, :G], level - total)
        spent = ~bound & (offset < low) & (level > low)
        shrink = np.where(spent, (level - low) / np.maximum(total, LEAST), 1.0)
        moved[:, :G] = np.maximum(offset, low)
        for k, (alpha, height, _) in enumerate(bent):
            start = self.where(k).start
            moved[:, start + G : start + G + 1] = alpha
            moved[:, start : start + G] = np.log(height * shrink) + alpha * self.middle[k]
        return moved

    def _bend(self, k: int, theta: Array, step: Array, bound: npt.NDArray[np.bool_]) -> tuple[Array, Array, Array]:
        """Term k after a step: exponent (P, 1), height at the middle (P, G), and its part of the level there."""
        start, end = self.where(k).start, self.where(k).start + self.n_groups
        alpha, change_alpha = theta[:, end : end + 1], step[:, end : end + 1]
        height = np.exp(theta[:, start:end] - alpha * self.middle[k])
        change = step[:, start:end] - change_alpha * self.middle[k]
        grown = height * np.exp(np.minimum(np.maximum(change, -3.0), 3.0))
        slope, exponent = alpha * grown + change_alpha * height, np.maximum(alpha + change_alpha, 0.1 * alpha + 1e-12)
        straight = bound | (alpha < 1e-9) | (slope <= 0) | (exponent >= EXPONENT_LIMIT)
        plain = straight.any(axis=1, keepdims=True)
        return (
            np.where(plain, alpha + change_alpha, exponent),
            np.where(plain, grown, slope / exponent),
            height * (1 + change),
        )

    def natural(self, theta: Array) -> Array:
        """Parameters (P, p) in natural units: coefficients A = exp(a + alpha ln x_ref), shapes in axis units."""
        out = np.array(theta, dtype=np.float64)
        G = self.n_groups
        for k, term in enumerate(self.form.terms):
            w = self.where(k)
            part = theta[:, w]
            reference = np.full((len(theta), 1), self.reference[k])
            if term.coordinate.shape is not None:
                reference, _ = self._moving_reference(term, k, part[:, G + 1 :])
            alpha, reference = self._finite(term, part[:, :G], part[:, G : G + 1], reference)
            if term.coordinate.shape_natural is not None:
                phi = reference[:, 0] if term.coordinate is SHIFTED else part[:, G + 1]
                out[:, w.start + G + 1] = term.coordinate.shape_natural(phi, self._axes(term))
            out[:, [w.start + G]] = alpha
            out[:, w.start : w.start + G] = np.exp(part[:, :G] + alpha * reference)
        return out

    def _finite(self, term: Term, a: Array, alpha: Array, reference: Array) -> tuple[Array, Array]:
        """Exponent and reference (P, 1), lowered where the coefficient would overflow natural units.

        A term so steep is gone beyond the smallest x; it keeps its value there and, with a shift, its slope.
        """
        top = a.max(axis=1, keepdims=True)
        over = np.flatnonzero(top + alpha * reference > LOG_LIMIT)
        steep, moved = alpha.copy(), reference.copy()
        for _ in range(20 if len(over) else 0):
            steep[over] = (LOG_LIMIT - top[over]) / moved[over]
            if term.coordinate is SHIFTED:
                lower = reference[over] + np.log(steep[over] / alpha[over])
                moved[over] = np.maximum(lower, np.log(self.X[term.axes[0]].min()))
        return steep, moved

    def bounds(self, y: Array, offset: tuple[float, float] | None = None) -> tuple[Array, Array]:
        """Lower and upper limits (p,) of theta; `offset` limits E (equal ends fix it)."""
        top = float(np.max(y))
        lower, upper = np.zeros(self.n_params), np.full(self.n_params, EXPONENT_LIMIT)
        lower[: self.n_groups], upper[: self.n_groups] = offset if offset is not None else (0.0, 2.0 * top)
        for k, term in enumerate(self.form.terms):
            w = self.where(k)
            a = slice(w.start, w.start + self.n_groups)
            lower[a], upper[a] = np.log(COEFFICIENT_FLOOR * top), np.log(1e3 * top)
            if term.coordinate.shape_range is not None:
                lower[w.stop - 1], upper[w.stop - 1] = term.coordinate.shape_range(self._axes(term))
        return lower, upper
