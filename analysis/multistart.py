"""Global fits: starts from a grid, then every bootstrap from the best optimum that any problem has found.

A bank of parameter vectors is scored on all bootstrap weightings with one matrix product, so a bootstrap starts
from the best of everything known; the solutions of all bootstraps then join the bank, and a bootstrap for which
another's solution promises less is solved again from there, until none is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from analysis.forms import Array, Design
from analysis.solver import MAX_ITERATIONS, Minima, Problems, losses, minimize

EXPONENT_GRID = (0.02, 0.1, 0.3, 0.7, 1.5)
EXPONENT_GRID_TWO = (0.05, 0.3, 1.0)
OFFSET_GRID = (0.0, 0.5, 0.9)
SHAPE_GRID = (0.2, 0.5, 0.8)  # share of the way through the shape's range
SCREEN_POINTS = 2_000  # rows on which starts are screened where a table is larger
FINALISTS = 4
ROUNDS = 4


@dataclass(frozen=True)
class Task:
    """What is minimized: a design over targets log_y (n,), Huber's delta, and bounds (p,) of theta."""

    design: Design
    log_y: Array
    delta: float
    lower: Array
    upper: Array

    def solve(self, start: Array, weights: Array, owner: Array | None = None, max_iterations: int = MAX_ITERATIONS) -> Minima:
        """Minimize from `start` (P, p); problem i has row owner[i] (or i) of `weights`."""
        P = len(start)
        rows = np.arange(P) if owner is None else np.asarray(owner, dtype=np.int64)
        limits = (np.broadcast_to(limit, start.shape) for limit in (self.lower, self.upper))
        return minimize(
            Problems(self.design, self.log_y, weights, rows, start, *limits, self.delta), max_iterations
        )

    def subset(self, rows: Array) -> Task:
        """The same task on some of the points, with the same reference scales."""
        return Task(self.design.subset(rows), self.log_y[rows], self.delta, self.lower, self.upper)


def grid_starts(task: Task) -> Array:
    """Starts (K, p): offsets x exponents x shapes, coefficients such that the largest y is met at the smallest x."""
    design, y = task.design, np.exp(task.log_y)
    terms = design.form.terms
    bottom, top = (np.array([f(y[hot > 0]) for hot in design.one_hot.T]) for f in (np.min, np.max))
    choices = [OFFSET_GRID]
    for term in terms:
        choices += [EXPONENT_GRID if len(terms) == 1 else EXPONENT_GRID_TWO]
        choices += [SHAPE_GRID] if term.coordinate.shape else []
    return np.array([_start(task, values, bottom, top) for values in product(*choices)])


def _start(task: Task, values: tuple[float, ...], bottom: Array, top: Array) -> Array:
    design, rest = task.design, list(values[1:])
    theta = np.empty(design.n_params)
    G = design.n_groups
    theta[:G] = np.clip(values[0] * bottom, task.lower[:G], task.upper[:G])
    height = np.log(np.maximum(top - theta[:G], 1e-3 * top) / max(1, len(design.form.terms)))
    for k, term in enumerate(design.form.terms):
        w = design.where(k)
        theta[w.start : w.start + G], theta[w.start + G] = height, rest.pop(0)
        if term.coordinate.shape:
            low, high = task.lower[w.stop - 1], task.upper[w.stop - 1]
            theta[w.stop - 1] = low + rest.pop(0) * (high - low)
    return np.clip(theta, task.lower, task.upper)


def solve_global(task: Task, weights: Array) -> Minima:
    """The best distinct optima (best first) of one problem with weights (n,), from the whole grid of starts."""
    start, n = grid_starts(task), len(task.log_y)
    if n > SCREEN_POINTS:
        rows = np.linspace(0, n - 1, SCREEN_POINTS).astype(np.int64)
        screened = task.subset(rows).solve(start, weights[None, rows], np.zeros(len(start)))
        start = screened.theta[np.argsort(screened.loss, kind="stable")[:FINALISTS]]
    found = task.solve(start, weights[None], np.zeros(len(start)))
    return distinct(found)


def distinct(found: Minima, tolerance: float = 1e-7) -> Minima:
    """Minima sorted by loss, one of each loss value."""
    order = np.argsort(found.loss, kind="stable")
    loss = found.loss[order]
    new = np.concatenate([[True], np.diff(loss) > tolerance * (loss[1:] + 1e-300)])
    keep = order[new]
    return Minima(found.theta[keep], found.loss[keep], found.converged[keep])


def solve_resamples(task: Task, weights: Array, optima: Minima) -> Minima:
    """Minimum of each of B weightings (B, n), from the full fit's optima and from each other's solutions."""
    first = losses(task.design, task.log_y, optima.theta, weights, task.delta)
    best = task.solve(optima.theta[np.argmin(first, axis=0)], weights)
    for _ in range(ROUNDS):
        bank = np.concatenate([best.theta, optima.theta])
        promise = losses(task.design, task.log_y, bank, weights, task.delta)
        B = len(weights)
        promise[np.arange(B), np.arange(B)] = np.inf
        choice = np.argmin(promise, axis=0)
        better = np.flatnonzero(promise[choice, np.arange(B)] < best.loss * (1 - 1e-9))
        if not len(better):
            break
        again = task.solve(bank[choice[better]], weights, better)
        best = _take_better(best, again, better)
    return best


def _take_better(best: Minima, again: Minima, where: Array) -> Minima:
    gain = again.loss < best.loss[where]
    theta, loss, converged = best.theta.copy(), best.loss.copy(), best.converged.copy()
    theta[where[gain]], loss[where[gain]] = again.theta[gain], again.loss[gain]
    converged[where[gain]] = again.converged[gain]
    return Minima(theta, loss, converged)
