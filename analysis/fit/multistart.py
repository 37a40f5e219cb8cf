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
from analysis.fit.solver import MAX_ITERATIONS, WIDEST_DELTA, Minima, Problems, losses, minimize

Indices = npt.NDArray[np.int64]

EXPONENT_GRID = (0.02, 0.1, 0.3, 0.7, 1.5)
EXPONENT_GRID_TWO = (0.05, 0.3, 1.0)
OFFSET_GRID = (0.0, 0.5, 0.9)
SHAPE_GRID = (0.2, 0.5, 0.8)  # share of the way through the shape's range
SCREEN_POINTS = 2_000  # rows on which starts are screened where a table is larger
FINALISTS = 4
SCREEN_STEPS = 60  # of all starts; of distinct ends so far the LEADING that are so near in loss go on until they rest
LEADING, LEADING_PROMISE = 16, 1.3
ROUNDS = 4
EDGE_PROMISE, BASIN_PROMISE = 1.02, 1.001  # how near in loss a start must lie to be tried
EDGE_DELTA = 0.005  # of the first stage where the offset is held, which leaves a valley no room to bend
RESAMPLE_DELTA = 0.05  # of the first stage of a resample, whose start is the optimum of all rows
LEAST_LOSS = 1e-300  # of a fit that goes through every point
SAMPLE = 50  # problems that a start beside the known minimum is tried on before it is tried on all
BASIN_WIDTH = 1.05  # ratio of exponents beyond which a solution counts as another basin


@dataclass(frozen=True)
class Task:
    """What is minimized: a design over targets log_y (n,), Huber's delta, and bounds (p,) of theta."""

    design: Design
    log_y: Array
    delta: float
    lower: Array
    upper: Array

    def solve(
        self, start: Array, weights: Array, owner: Indices | None = None, widest: float = WIDEST_DELTA,
        max_iterations: int = MAX_ITERATIONS,
    ) -> Minima:  # fmt: skip
        """Minimize from `start` (P, p); problem i has row owner[i] (or i) of `weights`."""
        P = len(start)
        rows = np.arange(P) if owner is None else np.asarray(owner, dtype=np.int64)
        lower, upper = np.broadcast_to(self.lower, start.shape), np.broadcast_to(self.upper, start.shape)
        problems = Problems(self.design, self.log_y, weights, rows, start, lower, upper, self.delta, widest)
        return minimize(problems, max_iterations)

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
    one = weights[None]
    found = distinct(task.solve(start, one, np.zeros(len(start), dtype=np.int64), max_iterations=SCREEN_STEPS))
    leading = np.arange(min(len(found.loss), LEADING))
    open_ = leading[~found.converged[leading] & (found.loss[leading] < LEADING_PROMISE * found.loss[0])]
    if len(open_):
        again = task.solve(found.theta[open_], one, np.zeros(len(open_), dtype=np.int64), task.delta)
        found = _take_better(found, again, open_)
    return distinct(Minima(found.theta[leading], found.loss[leading], found.converged[leading]))


def distinct(found: Minima, tolerance: float = 1e-7) -> Minima:
    """Minima sorted by loss, one of each loss value."""
    order = np.argsort(found.loss, kind="stable")
    loss = found.loss[order]
    new = np.concatenate([[True], np.diff(loss) > tolerance * (loss[1:] + 1e-300)])
    keep = order[new]
    return Minima(found.theta[keep], found.loss[keep], found.converged[keep])


def solve_resamples(task: Task, weights: Array, optima: Minima, close: int = 0) -> Minima:
    """Minimum of each of B weightings (B, n), from the full fit's optima and from each other's solutions.

    close: how many of the last weightings hardly differ from the full fit's, as those of a jackknife.
    """
    promise = losses(task.design, task.log_y, optima.theta, weights, task.delta)
    start, far = optima.theta[np.argmin(promise, axis=0)], len(weights) - close
    first = _joined(
        task.solve(start[:far], weights[:far], widest=RESAMPLE_DELTA),
        task.solve(start[far:], weights[far:], widest=task.delta),
    )
    best = _at_the_edge(task, first, weights, optima.theta[0])
    active: Indices = np.arange(len(weights), dtype=np.int64)
    for _ in range(ROUNDS):
        before = best.loss
        for start, near, promise in _beside(task, best, weights, active):
            best = _try_some(task, best, weights, start, near, promise)
        active = np.flatnonzero(best.loss < before * (1 - 1e-9))
        if not len(active):
            break
    return best


def _joined(first: Minima, second: Minima) -> Minima:
    return Minima(*(np.concatenate([getattr(m, f) for m in (first, second)]) for f in ("theta", "loss", "converged")))


def _at_the_edge(task: Task, best: Minima, weights: Array, start: Array) -> Minima:
    """The better of what is known and of minima from the far end of the valley, where offsets rest on their limit."""
    held, G = _held_at_edge(task), task.design.n_groups
    edge = start.copy()
    edge[:G] = task.lower[:G]
    edge = held.solve(edge[None], np.ones((1, len(task.log_y)))).theta
    promise = losses(task.design, task.log_y, edge, weights, task.delta)[0]
    near = np.flatnonzero(promise < EDGE_PROMISE * best.loss)
    if not len(near):
        return best
    there = held.solve(np.tile(edge, (len(near), 1)), weights, near, EDGE_DELTA)
    best = _take_better(best, there, near)
    ratio = there.loss / np.maximum(best.loss[near], LEAST_LOSS)
    close = ratio < BASIN_PROMISE
    return _try_some(task, best, weights, there.theta[close], near[close], ratio[close])


def _held_at_edge(task: Task) -> Task:
    G, upper = task.design.n_groups, task.upper.copy()
    upper[:G] = task.lower[:G]
    return Task(task.design, task.log_y, task.delta, task.lower, upper)


def _beside(task: Task, best: Minima, weights: Array, active: Indices) -> list[tuple[Array, Indices, Array]]:
    """(starts, problems, promise): others' most promising solutions whose exponent is larger, and smaller.

    The loss of absolute residuals has many shallow basins along the valley; theirs are the likeliest. promise: the
    loss there over the best known.
    """
    if not task.design.form.terms:
        return []
    known = np.maximum(best.loss[active], LEAST_LOSS)
    promise = losses(task.design, task.log_y, best.theta, weights[active], task.delta) / known
    exponent = best.theta[:, task.design.where(0).start + task.design.n_groups]
    ratio = (exponent[:, None] + 1e-6) / (exponent[None, active] + 1e-6)
    found = []
    for side in (ratio > BASIN_WIDTH, ratio < 1 / BASIN_WIDTH):
        there = np.where(side, promise, np.inf)
        choice = np.argmin(there, axis=0)
        least = there[choice, np.arange(len(active))]
        near = np.flatnonzero(least < BASIN_PROMISE)
        found.append((best.theta[choice[near]], active[near], least[near]))
    return found


def _try_some(task: Task, best: Minima, weights: Array, start: Array, where: Indices, promise: Array) -> Minima:
    """The better, problem by problem, of what is known and of a fit of problems `where` from `start`.

    Starts that are better already are all tried, and the SAMPLE nearest of the others; the rest where one of them won.
    """
    order = np.argsort(promise, kind="stable")
    better = int(np.sum(promise < 1))
    for part, sampled in ((order[: better + SAMPLE], better), (order[better + SAMPLE :], 0)):
        if not len(part):
            break
        before = best.loss[where[part]]
        best = _take_better(best, task.solve(start[part], weights, where[part], task.delta), where[part])
        won = best.loss[where[part]] < before * (1 - 1e-9)
        if not won[sampled:].any():
            break
    return best


def _take_better(best: Minima, again: Minima, where: Indices) -> Minima:
    gain = again.loss < best.loss[where]
    theta, loss, converged = best.theta.copy(), best.loss.copy(), best.converged.copy()
    theta[where[gain]], loss[where[gain]] = again.theta[gain], again.loss[gain]
    converged[where[gain]] = again.converged[gain]
    return Minima(theta, loss, converged)
