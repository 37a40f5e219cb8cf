"""The delta method: how sure ln q is, q = N_opt or a predicted y, and how much surer one more run would make it.

With J the Jacobian of ln y over configuration means (weights W), s^2 = RSS / (G - p) and g = d ln q / d theta,

    Var(ln q) = s^2 g' V g,   V = (J' W J)^-1,

and a run with Jacobian row j that counts w takes off (Sherman & Morrison 1950)

    s^2 w (g' V j)^2 / (1 + w j' V j).

The k-th further run of a configuration counts 1 / (k + 1): its seeds share what the law does not say (assumption).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.columns import Array
from analysis.fit.squares import SquaresFit
from analysis.fit.trend import t_quantile
from analysis.recipe.optimum import chinchilla_optimum
from analysis.recipe.recipe import Recipe

LEVEL = 0.95
RIDGE = 1e-8  # of each parameter's own information: directions that no run has told of stay finite, and large
STEP = 1e-5


@dataclass(frozen=True)
class Linear:
    """ln q of a family, linear in the parameters of a squares fit.

    covariance: (p, p), without s^2; gradient: (p,); s2: residual variance; dof; row: (family, N, D, C) -> j (p,) of a
    run there, zeros for a family that the fit does not hold.
    """

    family: str
    gradient: Array
    covariance: Array
    s2: float
    dof: int
    row: Callable[[str, float, float, float], Array]

    @property
    def variance(self) -> float:
        """Of ln q."""
        return self.s2 * float(self.gradient @ self.covariance @ self.gradient)

    @property
    def reach(self) -> float:
        """Half the width of the 95 % t interval of ln q."""
        return t_quantile(LEVEL, self.dof) * max(self.variance, 0.0) ** 0.5

    def drop(self, j: Array, weight: float = 1.0) -> float:
        """By how much a run with Jacobian row j lowers the variance of ln q."""
        a = self.covariance @ j
        return self.s2 * weight * float(self.gradient @ a) ** 2 / (1 + weight * float(j @ a))

    def after(self, j: Array, weight: float = 1.0) -> Linear:
        """With that run."""
        a = self.covariance @ j
        return replace(self, covariance=self.covariance - weight * np.outer(a, a) / (1 + weight * float(j @ a)))


def linear_split(family: str, group: str, fit: SquaresFit, recipe: Recipe, budget: float) -> Linear | None:
    """ln N_opt of a chinchilla law at a budget; None where there is no compute map."""
    design, compute = fit.task.design, recipe.compute
    if compute is None:
        return None

    def log_q(theta: Array) -> float:
        named = dict(zip(design.names, design.natural(theta[None])[0], strict=True))
        own = {name: named.get(f"{name}[{group}]", named.get(name)) for name in ("E", "A", "alpha", "B", "beta")}
        return float(np.log(chinchilla_optimum(own, compute, np.asarray(budget))[0]))  # type: ignore[arg-type]

    return _linear(family, fit, log_q, lambda N, D, C: (N, D))


def linear_score(family: str, group: str, fit: SquaresFit, recipe: Recipe, budget: float) -> Linear | None:
    """ln y of a law in compute at a budget."""
    at = fit.task.design.over([np.array([budget])], np.zeros(1, dtype=np.int64))

    def log_q(theta: Array) -> float:
        return float(np.log(at.predict(theta[None])[0, 0]))

    return _linear(family, fit, log_q, lambda N, D, C: (C,))


def _linear(
    family: str, fit: SquaresFit, log_q: Callable[[Array], float], axes: Callable[..., tuple[float, ...]]
) -> Linear | None:
    gradient = np.empty(len(fit.theta))
    for i, at in enumerate(fit.theta):
        step = np.zeros_like(fit.theta)
        step[i] = STEP * max(abs(at), 1e-3)
        gradient[i] = (log_q(fit.theta + step) - log_q(fit.theta - step)) / (2 * step[i])
    J = np.sqrt(fit.weight)[:, None] * fit.jacobian
    held = ~J.any(axis=0)  # on its limit: neither known better by a run, nor of use to q
    if not np.isfinite(gradient[~held]).all():
        return None
    names = fit.task.design.groups or (family,)

    def row(of: str, N: float, D: float, C: float) -> Array:
        if of not in names:
            return np.zeros(len(fit.theta))
        design = fit.task.design.over([np.array([x]) for x in axes(N, D, C)], np.array([names.index(of)]))
        there = replace(fit, task=replace(fit.task, design=design, log_y=np.zeros(1)))
        return np.where(held, 0.0, there.jacobian[0])

    return Linear(family, np.where(held, 0.0, gradient), _inverse(J.T @ J), fit.rss / fit.dof, fit.dof, row)


def _inverse(information: Array) -> Array:
    """The inverse (p, p), with a ridge that leaves directions without information finite."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / np.outer(scale, scale) + RIDGE * np.eye(len(information))
    return np.linalg.inv(scaled) / np.outer(scale, scale)


@dataclass(frozen=True)
class Candidate:
    """A run that may be trained. configuration: shared by its seeds; axes in natural units; flops: of its training."""

    run_id: str
    family: str
    configuration: str
    n_params: float
    samples_seen: float
    flops: float


def choose(
    linear: Sequence[Linear], done: Sequence[Candidate], left: Sequence[Candidate], n: int, run_flops: float
) -> list[Candidate]:
    """The n runs, one after another, that lower the sum of variances of ln q most per (FLOP + run_flops).

    Where no run lowers it, the cheapest is next. done: runs that the fits hold, or that are on their way.
    """
    counts: dict[str, int] = {}
    for one in done:
        counts[one.configuration] = counts.get(one.configuration, 0) + 1
    rows = {c.configuration: [part.row(c.family, c.n_params, c.samples_seen, c.flops) for part in linear] for c in left}
    chosen: list[Candidate] = []
    rest = list(left)
    while rest and len(chosen) < n:
        gains = [
            _gain(linear, rows[c.configuration], counts.get(c.configuration, 0), c.flops + run_flops) for c in rest
        ]
        best = rest.pop(int(np.argmax(gains))) if max(gains) > 0 else rest.pop(0)
        weight = 1 / (counts.get(best.configuration, 0) + 1)
        linear = [part.after(j, weight) for part, j in zip(linear, rows[best.configuration], strict=True)]
        counts[best.configuration] = counts.get(best.configuration, 0) + 1
        chosen.append(best)
    return chosen


def _gain(linear: Sequence[Linear], rows: Sequence[Array], n_before: int, cost: float) -> float:
    return sum(part.drop(j, 1 / (n_before + 1)) for part, j in zip(linear, rows, strict=True)) / cost
