"""The compute-optimal split of C into parameters N and samples D, and what it reaches. Pure functions of draws.

With L = E + A N^-alpha + B D^-beta and C = m (N^gamma D)^n, setting dL/dN = 0 along C constant gives

    N_opt = (alpha A / (gamma beta B))^(1/(alpha + gamma beta)) * (C/m)^(beta / (n (alpha + gamma beta)))
    D_opt = (C/m)^(1/n) / N_opt^gamma
    L_opt = E + kappa (C/m)^(-g),   g = alpha beta / (n (alpha + gamma beta)),  exponents positive

(Hoffmann et al. 2022, eq. 4, which is gamma = n = 1; Gokce & Schrimpf 2025 with a general n.) A brute-force minimum
over N on the isoFLOP curve agrees (tests/analysis/recipe/test_optimum.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.columns import Array
from analysis.fit.forms import evaluate_form, find_form
from analysis.recipe.compute_map import ComputeMap

SEARCH_DECADES = (2.0, 14.0)  # log10 of n_params between which the numeric search looks
SEARCH_POINTS = 240
GOLDEN = 0.5 * (np.sqrt(5.0) - 1.0)


def chinchilla_optimum(params: Mapping[str, Array], compute: ComputeMap, flops: Array) -> tuple[Array, Array]:
    """N_opt and D_opt at compute `flops`; parameters and compute broadcast."""
    alpha, beta = np.asarray(params["alpha"]), compute.gamma * np.asarray(params["beta"])
    budget = (np.asarray(flops, dtype=np.float64) / compute.m) ** (1 / compute.n)
    with np.errstate(all="ignore"):
        ratio = np.log(alpha * params["A"]) - np.log(beta * params["B"])
        N = np.exp((ratio + np.asarray(params["beta"]) * np.log(budget)) / (alpha + beta))
        return N, budget / N**compute.gamma


def chinchilla_reach(params: Mapping[str, Array], compute: ComputeMap, y: Array) -> Array:
    """Compute at which the optimal allocation reaches L = y; inf where y is at or below the asymptote E."""
    one = np.full(np.shape(params["E"]), compute.m)
    N, D = chinchilla_optimum(params, compute, one)
    alpha, beta = np.asarray(params["alpha"]), np.asarray(params["beta"])
    kappa = params["A"] * N**-alpha + params["B"] * D**-beta
    g = alpha * beta / (compute.n * (alpha + compute.gamma * beta))
    return _reach(kappa, g, compute.m, y - np.asarray(params["E"]))


def power_reach(params: Mapping[str, Array], y: Array) -> Array:
    """Compute at which E + A C^-alpha = y (minus the shift, where there is one); inf where unreachable."""
    reach = _reach(np.asarray(params["A"]), np.asarray(params["alpha"]), 1.0, y - np.asarray(params["E"]))
    return np.maximum(reach - np.asarray(params.get("shift", 0.0)), 0.0)


def _reach(kappa: Array, g: Array, unit: float, gap: Array) -> Array:
    with np.errstate(all="ignore"):
        flops = unit * np.exp((np.log(kappa) - np.log(np.where(gap > 0, gap, np.nan))) / g)
    return np.where((gap > 0) & np.isfinite(flops), flops, np.inf)


def numeric_optimum(
    form: str, params: Mapping[str, Array], compute: ComputeMap, flops: float, unique: float
) -> tuple[Array, Array]:
    """N and D that minimize a law in (N, unique images, D) at compute C: a grid over ln N, then golden section.

    params: scalars or columns (B, 1) of draws; returns arrays of that shape.
    """
    law = find_form(form)

    def loss(log_n: Array) -> Array:
        D = compute.samples(np.exp(log_n), flops)
        return evaluate_form(law, params, [np.exp(log_n), np.full_like(D, unique), D])

    low_n, high_n = SEARCH_DECADES
    grid = np.log(10.0) * np.linspace(low_n, high_n, SEARCH_POINTS)
    best = np.argmin(loss(np.broadcast_to(grid, (*np.shape(params["E"])[:-1], SEARCH_POINTS))), axis=-1)
    step = grid[1] - grid[0]
    low, high = grid[best] - step, grid[best] + step
    shape = np.shape(params["E"])
    low, high = low.reshape(shape), high.reshape(shape)
    for _ in range(80):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        smaller = loss(left) < loss(right)
        low, high = np.where(smaller, low, left), np.where(smaller, right, high)
    N = np.exp((low + high) / 2)
    return N, compute.samples(N, flops)
