"""Predictions inside the measured range where a form's parameters are not identified: squares, with t intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.columns import Array
from analysis.fit.forms import evaluate_form, find_form
from analysis.fit.trend import t_quantile

if TYPE_CHECKING:  # a recipe that is loaded fits nothing
    from analysis.fit.squares import SquaresFit

STEP = 1e-5  # of central differences, in units of the parameters' own scale


@dataclass(frozen=True)
class Inside:
    """The squares fit in coordinates that are linear in ln A: parameters (p,), their covariance (p, p) and dof.

    names: as of the form, coefficients as their logarithms. Directions that the data leave open have covariances that
    cancel in every prediction inside the range, and in none beyond it.
    """

    form: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    dof: int

    def predict(self, axes: tuple[Array, ...], level: float, group: str = "") -> tuple[Array, Array, Array]:
        """y and its t interval at axes (m,): value, low, high.

        The interval is that of the mean of further runs: ln y +- t sqrt(j' V j), j = d ln y / d parameters.
        """
        value = np.array(self.values)
        log_y = self._log_y(value, axes, group)
        columns = []
        for i, at in enumerate(value):
            step = np.zeros_like(value)
            step[i] = STEP * max(abs(at), 1e-3)
            up, down = (self._log_y(value + side * step, axes, group) for side in (1, -1))
            columns.append((up - down) / (2 * step[i]))
        j = np.stack(columns, axis=-1)
        reach = t_quantile(level, self.dof) * np.sqrt(np.einsum("mi,ij,mj->m", j, np.array(self.covariance), j))
        return np.exp(log_y), np.exp(log_y - reach), np.exp(log_y + reach)

    def _log_y(self, values: Array, axes: tuple[Array, ...], group: str) -> Array:
        form = find_form(self.form)
        logged = {term.coefficient for term in form.terms}
        natural: Mapping[str, Any] = {
            name: np.exp(v) if name.partition("[")[0] in logged else v
            for name, v in zip(self.names, values, strict=True)
        }
        return np.log(np.maximum(evaluate_form(form, natural, axes, group), 1e-60))


def inside_fit(fit: SquaresFit) -> Inside:
    """What a squares fit says inside its range."""
    design = fit.task.design
    logged = [k for k, name in enumerate(design.names) if name.partition("[")[0] in _coefficients(fit)]

    def coordinates(theta: Array) -> Array:
        out = design.natural(theta[None])[0]
        out[logged] = np.log(out[logged])
        return out

    p = len(fit.theta)
    turn = np.empty((p, p))
    for i in range(p):
        step = np.zeros(p)
        step[i] = STEP * max(abs(fit.theta[i]), 1e-3)
        turn[:, i] = (coordinates(fit.theta + step) - coordinates(fit.theta - step)) / (2 * step[i])
    J = np.sqrt(fit.weight)[:, None] * fit.jacobian
    scale = np.linalg.norm(J, axis=0)
    scale = np.where(scale > 0, scale, np.inf)
    inverse = np.linalg.pinv((J / scale).T @ (J / scale), rcond=1e-8, hermitian=True) / np.outer(scale, scale)
    covariance = turn @ inverse @ turn.T * fit.rss / fit.dof
    return Inside(
        design.form.name, design.names, tuple(coordinates(fit.theta).tolist()),
        tuple(tuple(row) for row in covariance.tolist()), fit.dof,
    )  # fmt: skip


def _coefficients(fit: SquaresFit) -> set[str]:
    return {term.coefficient for term in fit.task.design.form.terms}
