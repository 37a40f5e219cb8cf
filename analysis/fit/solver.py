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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.design import Design, DesignBlock

MAX_ITERATIONS = 200
TOLERANCE = 1e-9  # relative step at which a problem rests
STAGE_TOLERANCE = 3e-2  # relative step at which delta is lowered
STAGE_STEPS = 6
STAGE_FACTOR = 5.0
WIDEST_DELTA = 0.2
NEWTON_DELTA = 5e-3  # below it the curvature of ln(yhat) itself counts beside that of the few points in the zone
MU_START, MU_DOWN, MU_UP, MU_LEAST, MU_MOST = 1.0, 0.1, 10.0, 1e-6, 1e9
CHUNK_ELEMENTS = 24_000  # points x problems that fit the second-level cache with their temporaries


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
    """Minimize every problem of the batch from its start. Deterministic, whatever the number of threads."""
    P, n = len(problems.start), problems.log_y.shape[-1]
    size = max(1, min(256, CHUNK_ELEMENTS // n))
    chunks = [slice(i, min(i + size, P)) for i in range(0, P, size)]
    if len(chunks) > 1 and cores() > 1:
        with ThreadPoolExecutor(cores()) as pool:
            parts = list(pool.map(lambda chunk: _solve_chunk(problems, chunk, max_iterations), chunks))
    else:
        parts = [_solve_chunk(problems, chunk, max_iterations) for chunk in chunks]
    return Minima(*(np.concatenate([getattr(part, f) for part in parts]) for f in ("theta", "loss", "converged")))


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
    steps: npt.NDArray[np.int64]
    fresh: npt.NDArray[np.bool_]  # delta was lowered: evaluate again before stepping


def _solve_chunk(problems: Problems, chunk: slice, max_iterations: int) -> Minima:
    theta, log_y = (
        _clip(problems, chunk),
        np.broadcast_to(problems.log_y, (len(problems.start), problems.log_y.shape[-1])),
    )
    out = Minima(theta.copy(), np.full(len(theta), np.inf), np.zeros(len(theta), dtype=bool))
    live = np.arange(len(theta))
    data = [problems.weights[problems.owner[chunk]], log_y[chunk], problems.lower[chunk], problems.upper[chunk]]
    state = _begin(problems, theta, data)
    for _ in range(max_iterations):
        resting = _advance(problems, state, data)
        out.theta[live], out.loss[live], out.converged[live] = state.theta, state.loss, resting
        if resting.all():
            break
        if resting.sum() * 4 >= len(resting):
            keep = ~resting
            live, data = live[keep], [array[keep] for array in data]
            state = _State(*(getattr(state, name)[keep] for name in _State.__dataclass_fields__))
    return _final_loss(problems, chunk, out)


def _clip(problems: Problems, chunk: slice) -> Array:
    return np.clip(problems.start[chunk], problems.lower[chunk], problems.upper[chunk])


def _final_loss(problems: Problems, chunk: slice, out: Minima) -> Minima:
    """Loss at the final delta, also for problems stopped in an earlier stage."""
    log_y = problems.log_y if problems.log_y.ndim == 1 else problems.log_y[chunk]
    r = np.log(problems.design.predict(out.theta)) - log_y
    loss = np.einsum("pn,pn->p", problems.weights[problems.owner[chunk]], huber(r, problems.delta))
    return Minima(out.theta, loss, out.converged)


def _begin(problems: Problems, theta: Array, data: list[Array]) -> _State:
    """First evaluation, at a delta that holds most residuals of the start."""
    P = len(theta)
    r = np.abs(np.log(problems.design.predict(theta)) - data[1])
    spread = np.minimum(np.quantile(r, 0.9, axis=1), problems.widest)
    delta = np.full(P, np.inf) if np.isinf(problems.delta) else np.maximum(spread, problems.delta)
    mu = np.full(P, MU_START)
    loss, gradient, hessian = _system(problems.design, theta, data, delta, mu)
    return _State(theta, loss, gradient, hessian, mu, delta, np.zeros(P, dtype=int), np.zeros(P, dtype=bool))


def _advance(problems: Problems, s: _State, data: list[Array]) -> npt.NDArray[np.bool_]:
    """One step of every problem, in place; returns which problems rest."""
    step = np.where(s.fresh[:, None], 0.0, _step(s, data[2], data[3]))
    candidate = np.clip(problems.design.retract(s.theta, step, data[2]), data[2], data[3])
    mu_next = np.where(s.fresh, MU_START, np.maximum(s.mu * MU_DOWN, MU_LEAST))
    loss, gradient, hessian = _system(problems.design, candidate, data, s.delta, mu_next)
    accept = s.fresh | (loss <= s.loss)
    moved = np.max(np.abs(candidate - s.theta) / (np.abs(s.theta) + 0.01), axis=1)
    gain = s.loss - loss
    for name, new in (("theta", candidate), ("loss", loss), ("gradient", gradient), ("hessian", hessian)):
        old = getattr(s, name)
        old[accept] = new[accept]
    fresh_before = s.fresh
    s.mu = np.where(accept, mu_next, s.mu * MU_UP)
    s.steps = s.steps + 1
    stuck = s.mu > MU_MOST
    final = s.delta <= problems.delta
    still = accept & ~fresh_before & ((moved < TOLERANCE) | (gain <= 1e-15 * s.loss) & (s.mu <= 1e-3))
    settled = accept & ~fresh_before & (moved < STAGE_TOLERANCE) | (s.steps >= STAGE_STEPS) | stuck
    s.fresh = ~final & settled
    s.delta = np.where(s.fresh, np.maximum(s.delta / STAGE_FACTOR, problems.delta), s.delta)
    s.steps = np.where(s.fresh, 0, s.steps)
    s.mu = np.where(s.fresh, MU_START, s.mu)
    return final & (still | stuck)


def _step(s: _State, lower: Array, upper: Array) -> Array:
    """Damped Gauss-Newton step; parameters held at a bound by the gradient do not move."""
    held = ((s.theta <= lower) & (s.gradient > 0)) | ((s.theta >= upper) & (s.gradient < 0)) | (lower == upper)
    H = np.where(held[:, :, None] | held[:, None, :], 0.0, s.hessian)
    g = np.where(held, 0.0, s.gradient)
    diagonal = np.einsum("pii->pi", H)
    ridge = 1e-3 * s.mu[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    index = np.arange(H.shape[1])
    H[:, index, index] = np.where(held, 1.0, diagonal + ridge)
    return -np.linalg.solve(H, g[..., None])[..., 0]


def _system(design: Design, theta: Array, data: list[Array], delta: Array, mu: Array) -> tuple[Array, Array, Array]:
    """Loss (P,), gradient (P, p) and Gauss-Newton matrix (P, p, p) at theta."""
    weights, log_y = data[0], data[1]
    prediction, blocks = design.evaluate(theta)
    r = np.log(prediction) - log_y
    limit = delta[:, None]
    psi = np.clip(r, -limit, limit)
    loss = np.einsum("pn,pn,pn->p", weights, psi, r - 0.5 * psi)
    size = np.abs(r)
    outside = np.minimum(mu, 1.0)[:, None] * limit / np.maximum(size, limit) if np.isfinite(delta).all() else 1.0
    weighted = weights * psi
    bend = weighted * (limit <= NEWTON_DELTA)
    curvature = weights * np.where(size <= limit, 1.0, outside) - bend
    gradient, hessian = np.zeros_like(theta), np.zeros((*theta.shape, theta.shape[1]))
    for first, second in _pairs(blocks):
        a, b = blocks[first], blocks[second]
        factor = curvature * a.share * b.share
        if first == second > 0:
            factor += bend * a.share
        product = _contract(factor, _outer(a.features, b.features))
        block = product.reshape(len(theta), a.where.stop - a.where.start, b.where.stop - b.where.start)
        hessian[:, a.where, b.where] = block
        hessian[:, b.where, a.where] = block.transpose(0, 2, 1)
    for block_ in blocks:
        gradient[:, block_.where] = _contract(weighted * block_.share, block_.features)
    return loss, gradient, hessian


def _pairs(blocks: list[DesignBlock]) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(len(blocks)) for j in range(i, len(blocks)))


def _outer(a: Array, b: Array) -> Array:
    """Products of every feature of a with every feature of b: (..., n, ma * mb)."""
    product = a[..., :, None] * b[..., None, :]
    return product.reshape(*product.shape[:-2], -1)


def _contract(values: Array, features: Array) -> Array:
    """sum_i values[p, i] features[(p,) i, m]: (P, m)."""
    if features.ndim == 2:
        return values @ features
    return np.einsum("pn,pnm->pm", values, features)
