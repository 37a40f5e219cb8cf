"""Global fits: starts from a grid, then every bootstrap from the best optimum that any problem has found.

A bank of parameter vectors is scored on all bootstrap weightings with one matrix product, so a bootstrap starts
from the best of everything known; the solutions of all bootstraps then join the bank, and a bootstrap for which
another's solution promises less is solved again from there, until none is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.design import Design
from analysis.fit.solver import WIDEST_DELTA, Minima, Problems, losses, minimize

Indices = npt.NDArray[np.int64]

EXPONENT_GRID = (0.02, 0.1, 0.3, 0.7, 1.5)
EXPONENT_GRID_TWO = (0.05, 0.3, 1.0)
OFFSET_GRID = (0.0, 0.5, 0.9)
SHAPE_GRID = (0.2, 0.5, 0.8)  # share of the way through the shape's range
SCREEN_POINTS = 2_000  # rows on which starts are screened where a table is larger
FINALISTS = 4
ROUNDS = 4
EDGE_PROMISE, BASIN_PROMISE = 1.02, 1.001  # how near in loss a start must lie to be tried
BASIN_WIDTH = 1.05  # ratio of exponents beyond which a solution counts as another basin


@dataclass(frozen=True)
class Task:
    """What is minimized: a design over targets log_y (n,), Huber's delta, and bounds (p,) of theta."""

    design: Design
    log_y: Array
    delta: float
    lower: Array
    upper: Array

    def solve(self, start: Array, weights: Array, owner: Indices | None = None, widest: float = WIDEST_DELTA) -> Minima:
        """Minimize from `start` (P, p); problem i has row owner[i] (or i) of `weights`."""
        P = len(start)
        rows = np.arange(P) if owner is None else np.asarray(owner, dtype=np.int64)
        lower, upper = np.broadcast_to(self.lower, start.shape), np.broadcast_to(self.upper, start.shape)
        return minimize(Problems(self.design, self.log_y, weights, rows, start, lower, upper, self.delta, widest))

    def subset(self, rows: Indices) -> Task:
        """The same task on some of the points, with the same reference scales."""
        return Task(self.design.subset(rows), self.log_y[rows], self.delta, self.lower, self.upper)


def grid_starts(task: Task) -> Array:
    """Starts (K, p): offsets x exponents x shapes, coefficients such that the largest y is met at the smallest x."""
    design, y = task.design, np.exp(task.log_y)
    terms = design.form.terms
    bottom, top = (np.array([f(y[hot > 0]) for hot in design.one_hot.T]) for f in (np.min, np.max))
    choices: list[tuple[float, ...]] = [OFFSET_GRID]
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
        screened = task.subset(rows).solve(start, weights[None, rows], np.zeros(len(start), dtype=np.int64))
        start = screened.theta[np.argsort(screened.loss, kind="stable")[:FINALISTS]]
    found = task.solve(start, weights[None], np.zeros(len(start), dtype=np.int64))
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
    bank = np.concatenate([optima.theta, edge_optimum(task, optima.theta[0])[None]])
    promise = losses(task.design, task.log_y, bank, weights, task.delta)
    best = task.solve(bank[np.argmin(promise[:-1], axis=0)], weights)
    near = np.flatnonzero(promise[-1] < EDGE_PROMISE * best.loss)
    best = _improve(task, best, weights, np.tile(bank[-1], (len(near), 1)), near, WIDEST_DELTA)
    active: Indices = np.arange(len(weights), dtype=np.int64)
    for _ in range(ROUNDS):
        before = best.loss
        for start, near in _beside(task, best, weights, active):
            best = _improve(task, best, weights, start, near, task.delta)
        active = np.flatnonzero(best.loss < before * (1 - 1e-9))
        if not len(active):
            break
    return best


def _beside(task: Task, best: Minima, weights: Array, active: Indices) -> list[tuple[Array, Indices]]:
    """(starts, problems): others' most promising solutions whose exponent is larger, and smaller.

    The loss of absolute residuals has many shallow basins along the valley; theirs are the likeliest.
    """
    if not task.design.form.terms:
        return []
    promise = losses(task.design, task.log_y, best.theta, weights[active], task.delta)
    exponent = best.theta[:, task.design.where(0).start + task.design.n_groups]
    ratio = (exponent[:, None] + 1e-6) / (exponent[None, active] + 1e-6)
    found = []
    for side in (ratio > BASIN_WIDTH, ratio < 1 / BASIN_WIDTH):
        there = np.where(side, promise, np.inf)
        choice = np.argmin(there, axis=0)
        near = np.flatnonzero(there[choice, np.arange(len(active))] < BASIN_PROMISE * best.loss[active])
        found.append((best.theta[choice[near]], active[near]))
    return found


def _improve(task: Task, best: Minima, weights: Array, start: Array, where: Indices, widest: float) -> Minima:
    """The better, problem by problem, of what is known and of a fit of problems `where` from `start`."""
    if not len(where):
        return best
    return _take_better(best, task.solve(start, weights, where, widest), where)


def edge_optimum(task: Task, start: Array) -> Array:
    """The optimum (p,) with the offset held at its lower limit: the far end of the valley of offset and exponent."""
    G = task.design.n_groups
    theta, upper = start.copy(), task.upper.copy()
    theta[:G] = upper[:G] = task.lower[:G]
    held = Task(task.design, task.log_y, task.delta, task.lower, upper)
    return held.solve(theta[None], np.ones((1, len(task.log_y)))).theta[0]


def _take_better(best: Minima, again: Minima, where: Indices) -> Minima:
    gain = again.loss < best.loss[where]
    theta, loss, converged = best.theta.copy(), best.loss.copy(), best.converged.copy()
    theta[where[gain]], loss[where[gain]] = again.theta[gain], again.loss[gain]
    converged[where[gain]] = again.converged[gain]
    return Minima(theta, loss, converged)
