"""Many robust non-linear fits advanced together as one array program.

Each problem minimizes, over theta within bounds,

    F(theta) = sum_i w_i H_delta(r_i),  r_i = ln yhat_i(theta) - ln y_i,
    H_delta(r) = r^2/2 where |r| <= delta, else delta (|r| - delta/2)      (Huber 1964; delta = inf: squares)

by damped Gauss-Newton steps. The weight of a point outside the quadratic zone moves between 0 (Newton on the
Huber loss) and delta/|r| (iteratively reweighted squares, which always descends): a problem's damping mu picks it.
delta is lowered in stages (Madsen & Nielsen 1993), so that a start far away still sees a smooth loss. Problems differ
in weights (bootstraps), starts, targets or bounds; a chunk of them shares every array operation, chunks run in threads.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.design import Design, DesignBlock
from analysis.fit.workspace import Workspace

MAX_ITERATIONS = 200
TOLERANCE = 1e-9  # relative step at which a problem rests
STAGE_TOLERANCE = 3e-2  # relative step at which delta is lowered
STAGE_STEPS = 6
STAGE_FACTOR = 5.0
WIDEST_DELTA = 0.2
NEWTON_DELTA = 5e-3  # below it the curvature of ln(yhat) itself counts beside that of the few points in the zone
REST_GAIN, MU_REST = 1e-15, 1e-3  # share of the loss that an undamped step gains where nothing is left to gain
MU_START, MU_DOWN, MU_UP, MU_LEAST, MU_MOST = 1.0, 0.1, 10.0, 1e-6, 1e9
CHUNK_ELEMENTS = 48_000  # points x problems that fit the second-level cache with their temporaries


@dataclass(frozen=True)
class Problems:
    """A batch: P problems over n points.

    weights: (B, n) bootstrap weights; owner: (P,) row of `weights` for each problem; log_y: (n,) or (P, n);
    start: (P, p); lower, upper: (P, p); delta: Huber's delta, inf for squares.
    """

    design: Design
    log_y: Array
    weights: Array
    owner: npt.NDArray[np.int64]
    start: Array
    lower: Array
    upper: Array
    delta: float
    widest: float = WIDEST_DELTA  # delta of the first stage at most; at `delta` a start stays in its own basin


@dataclass(frozen=True)
class Minima:
    """theta (P, p), loss (P,) and whether each problem came to rest (P,)."""

    theta: Array
    loss: Array
    converged: npt.NDArray[np.bool_]


def huber(r: Array, delta: Array | float) -> Array:
    """Huber's loss of residuals r, elementwise; delta broadcasts."""
    clipped = np.clip(r, -delta, delta)
    return clipped * (r - 0.5 * clipped)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def minimize(problems: Problems, max_iterations: int = MAX_ITERATIONS) -> Minima:
    """Minimize every problem of the batch from its start. Deterministic, whatever the number of threads.

    Problems advance in chunks; those still moving when few of a chunk are left go on in chunks of their own.
    """
    P, n = len(problems.start), problems.log_y.shape[-1]
    size, out = max(1, min(1024, CHUNK_ELEMENTS // n)), _nothing(problems)
    advance = partial(_solve_chunk, problems, out, max_iterations)
    batches = [_Batch(np.arange(i, min(i + size, P)), None) for i in range(0, P, size)]
    while batches:
        alone = len(batches) == 1
        if not alone and cores() > 1:
            with ThreadPoolExecutor(cores()) as pool:
                moving = list(pool.map(partial(advance, least=size // 3), batches))
        else:
            moving = [advance(batch, least=0 if alone else size // 3) for batch in batches]
        batches = _regrouped([batch for batch in moving if len(batch.live)], size)
    return out


def _nothing(problems: Problems) -> Minima:
    P = len(problems.start)
    return Minima(problems.start.astype(np.float64), np.full(P, np.inf), np.zeros(P, dtype=bool))


def losses(design: Design, log_y: Array, theta: Array, weights: Array, delta: float) -> Array:
    """Loss (K, B) of K parameter vectors on B weightings: one matrix product."""
    size = max(1, 4 * CHUNK_ELEMENTS // len(log_y))
    rows = [huber(np.log(design.predict(theta[i : i + size])) - log_y, delta) for i in range(0, len(theta), size)]
    return np.concatenate(rows) @ weights.T


@dataclass
class _State:
    """Where the problems of a chunk stand; arrays over its problems."""

    theta: Array
    loss: Array
    gradient: Array
    hessian: Array
    mu: Array
    delta: Array
    steps: npt.NDArray[np.int64]  # since delta was lowered
    age: npt.NDArray[np.int64]  # steps in all
    fresh: npt.NDArray[np.bool_]  # delta was lowered: evaluate again before stepping

    def take(self, which: Any) -> _State:
        return _State(*(array[which] for array in vars(self).values()))


@dataclass(frozen=True)
class _Batch:
    """Problems (indices) that advance together, and where they stand; None before their first step."""

    live: npt.NDArray[np.int64]
    state: _State | None


def _regrouped(batches: list[_Batch], size: int) -> list[_Batch]:
    """The same problems in as few batches of `size` as hold them."""
    if not batches:
        return []
    states = [vars(batch.state) for batch in batches]
    live = np.concatenate([batch.live for batch in batches])
    state = _State(*(np.concatenate([s[name] for s in states]) for name in states[0]))
    parts = [slice(i, i + size) for i in range(0, len(live), size)]
    return [_Batch(live[part], state.take(part)) for part in parts]


@dataclass(frozen=True)
class _Given:
    """What a chunk's problems are given: weights (P, n), targets (n,) or (P, n), limits (P, p)."""

    weights: Array
    log_y: Array
    lower: Array
    upper: Array

    @classmethod
    def of(cls, problems: Problems, live: npt.NDArray[np.int64]) -> _Given:
        log_y = problems.log_y if problems.log_y.ndim == 1 else problems.log_y[live]
        return cls(problems.weights[problems.owner[live]], log_y, problems.lower[live], problems.upper[live])

    def take(self, which: npt.NDArray[np.bool_]) -> _Given:
        log_y = self.log_y if self.log_y.ndim == 1 else self.log_y[which]
        return _Given(self.weights[which], log_y, self.lower[which], self.upper[which])


def _solve_chunk(problems: Problems, out: Minima, max_iterations: int, batch: _Batch, least: int) -> _Batch:
    """Advance a batch, write what ended into `out`; returns what still moves once no more than `least` do."""
    live, given = batch.live, _Given.of(problems, batch.live)
    theta = np.clip(problems.start[live], given.lower, given.upper)
    work = Workspace()
    state = batch.state or _begin(problems, theta, given, work)
    while len(live) > least:
        resting = _advance(problems, state, given, work)
        ended = resting | (state.age >= max_iterations)
        if ended.sum() * 4 >= len(live) or len(live) - ended.sum() <= least:
            _write(problems, out, live[ended], state.take(ended), given.take(ended), resting[ended])
            live, state, given = live[~ended], state.take(~ended), given.take(~ended)
    return _Batch(live, state)


def _write(
    problems: Problems, out: Minima, where: npt.NDArray[np.int64], state: _State, given: _Given,
    resting: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write ended problems, with the loss at the final delta also for those stopped in an earlier stage."""
    r = np.log(problems.design.predict(state.theta)) - given.log_y
    out.theta[where], out.converged[where] = state.theta, resting
    out.loss[where] = np.einsum("pn,pn->p", given.weights, huber(r, problems.delta))


def _begin(problems: Problems, theta: Array, given: _Given, work: Workspace) -> _State:
    """First evaluation, at a delta that holds most residuals of the start."""
    P = len(theta)
    r = np.abs(np.log(problems.design.predict(theta)) - given.log_y)
    spread = np.minimum(np.quantile(r, 0.9, axis=1), problems.widest)
    delta = np.full(P, np.inf) if np.isinf(problems.delta) else np.maximum(spread, problems.delta)
    mu, zero = np.full(P, MU_START), np.zeros(P, dtype=np.int64)
    loss, gradient, hessian = _system(problems.design, theta, given, delta, mu, work)
    return _State(theta, loss, gradient, hessian, mu, delta, zero, zero.copy(), np.zeros(P, dtype=bool))


def _advance(problems: Problems, s: _State, given: _Given, work: Workspace) -> npt.NDArray[np.bool_]:
    """One step of every problem, in place; returns which problems rest."""
    step = np.where(s.fresh[:, None], 0.0, _step(s, given.lower, given.upper))
    promised = np.abs(np.einsum("pi,pi->p", s.gradient, step))  # twice what the step gains of a parabola
    candidate = _between(problems.design.retract(s.theta, step, given.lower), given.lower, given.upper)
    mu_next = np.where(s.fresh, MU_START, np.maximum(s.mu * MU_DOWN, MU_LEAST))
    loss, gradient, hessian = _system(problems.design, candidate, given, s.delta, mu_next, work)
    accept = s.fresh | (loss <= s.loss)
    moved = (np.abs(candidate - s.theta) / (np.abs(s.theta) + 0.01)).max(axis=1)
    gain, damped = s.loss - loss, s.mu > MU_REST
    s.loss, each, of_each = np.where(accept, loss, s.loss), accept[:, None], accept[:, None, None]
    s.theta, s.gradient = np.where(each, candidate, s.theta), np.where(each, gradient, s.gradient)
    s.hessian = np.where(of_each, hessian, s.hessian)
    fresh_before = s.fresh
    s.mu = np.where(accept, mu_next, s.mu * MU_UP)
    s.steps += 1
    s.age += 1
    stuck = (s.mu > MU_MOST) | ~accept & ~damped & (promised <= REST_GAIN * s.loss)  # what was refused is rounding
    final = s.delta <= problems.delta
    still = accept & ~fresh_before & ((moved < TOLERANCE) | (gain <= REST_GAIN * s.loss) & (s.mu <= MU_REST))
    settled = accept & ~fresh_before & (moved < STAGE_TOLERANCE) | (s.steps >= STAGE_STEPS) | stuck
    s.fresh = ~final & settled
    s.delta = np.where(s.fresh, np.maximum(s.delta / STAGE_FACTOR, problems.delta), s.delta)
    s.steps[s.fresh] = 0
    s.mu = np.where(s.fresh, MU_START, s.mu)
    return final & (still | stuck)


def _between(values: Array, low: Array, high: Array, out: Array | None = None) -> Array:
    """np.clip without its own cost, which counts for a few problems."""
    return np.asarray(np.minimum(np.maximum(values, low, out=out), high, out=out))


def _step(s: _State, lower: Array, upper: Array) -> Array:
    """Damped Gauss-Newton step; parameters held at a bound by the gradient do not move."""
    held = ((s.theta <= lower) & (s.gradient > 0)) | ((s.theta >= upper) & (s.gradient < 0)) | (lower == upper)
    free = ~held
    H = s.hessian * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("pii->pi", H)  # a view
    ridge = 1e-3 * s.mu[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    diagonal[...] = np.where(held, 1.0, diagonal + ridge)
    return -np.linalg.solve(H, (s.gradient * free)[..., None])[..., 0]


def _system(
    design: Design, theta: Array, given: _Given, delta: Array, mu: Array, work: Workspace
) -> tuple[Array, Array, Array]:
    """Loss (P,), gradient (P, p) and Gauss-Newton matrix (P, p, p) at theta."""
    prediction, blocks = design.evaluate(theta, work)
    shape = prediction.shape
    r = np.log(prediction, out=prediction)
    r -= given.log_y
    psi = _between(r, -delta[:, None], delta[:, None], out=work("psi", *shape))
    weighted = np.multiply(given.weights, psi, out=work("weighted", *shape))
    loss = np.einsum("pn,pn->p", weighted, r) - 0.5 * np.einsum("pn,pn->p", weighted, psi)
    curvature, bend = _curvature(given.weights, r, weighted, delta, mu, work)
    gradient, hessian = np.zeros_like(theta), np.zeros((*theta.shape, theta.shape[1]))
    curved, factor = work("curved", *shape), work("factor", *shape)
    for first, a in enumerate(blocks):
        np.multiply(curvature, a.share, out=curved)
        for second, b in enumerate(blocks[first:], first):
            np.multiply(curved, b.share, out=factor)
            if first == second > 0 and bend is not None:
                factor += np.multiply(bend, a.share, out=psi)
            block = _gram(design, factor, first, second, a, b)
            hessian[:, a.where, b.where] = block
            hessian[:, b.where, a.where] = block.transpose(0, 2, 1)
        gradient[:, a.where] = _contract(np.multiply(weighted, a.share, out=factor), a.features)
    return loss, gradient, hessian


def _curvature(
    weights: Array, r: Array, weighted: Array, delta: Array, mu: Array, work: Workspace
) -> tuple[Array, Array | None]:
    """Second derivative of the loss in r (P, n), between Newton's and that of reweighted squares, and what bends ln y.

    1 within the zone; outside min(mu, 1) delta / |r|; in late stages the curvature of ln(yhat) itself counts as well.
    r is used up.
    """
    if np.isinf(delta).all():
        return weights, None
    limit = delta[:, None]
    size = np.maximum(np.abs(r, out=r), limit, out=r)
    within = size <= limit
    curvature = np.divide((np.minimum(mu, 1.0) * delta)[:, None], size, out=work("curvature", *r.shape))
    np.copyto(curvature, 1.0, where=within)
    curvature *= weights
    late = delta <= NEWTON_DELTA
    if not late.any():
        return curvature, None
    bend = weighted if late.all() else np.multiply(weighted, late[:, None], out=r)
    curvature -= bend
    return curvature, bend


def _gram(design: Design, factor: Array, first: int, second: int, a: DesignBlock, b: DesignBlock) -> Array:
    """sum_i factor[p, i] a[(p,) i, k] b[(p,) i, m]: (P, ma, mb) of features of two blocks."""
    if a.features.ndim == 2 and b.features.ndim == 2:
        products = design.products(first, second)
        return (factor @ products).reshape(len(factor), a.features.shape[1], b.features.shape[1])
    return np.asarray(np.swapaxes(a.features, -1, -2) @ (factor[..., None] * b.features))


def _contract(values: Array, features: Array) -> Array:
    """sum_i values[p, i] features[(p,) i, m]: (P, m)."""
    if features.ndim == 2:
        return values @ features
    return np.asarray((values[:, None, :] @ features)[:, 0])
