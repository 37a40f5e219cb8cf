"""Which cells of a family are searched: those that tell the law of rates best for a share of the grid's FLOP.

The law is log lr* = a + b log N + c log D with a prior on its slopes (`analysis.rates.law`), so that a design X (a row
a cell) predicts the grid's cells Z with mean variance tr(Z (X'X + R)^-1 Z') / n in units of one cell's SCATTER^2, where
R = diag(0, (SCATTER / SLOPE)^2, (SCATTER / SLOPE)^2): the criterion, I-optimality (Chaloner & Verdinelli 1995, sec. 2).
Fedorov's exchange: from the cheapest design on, cells are exchanged one by one, then added, as long as that lowers the
criterion most and the budget holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from analysis.rates.law import SLOPE
from scaling.probes.cells import Cell

LEAST, MOST = 4, 8  # cells of a family: one more than the law's numbers, and as many more
SCATTER = 0.35  # of one cell's best log rate about the law: half a step of nine rates in .003 … 1; assumption


def cheapest(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cheapest LEAST cells that tell both slopes: the cheapest, a step from it along each axis, then any others.

    A grid without a second size, or amount of data, gives the cheapest ones that it has.
    """
    by_cost = sorted(cells, key=lambda cell: cell.flops)
    corner = by_cost[0]
    along_n = [c for c in by_cost if c.samples_seen == corner.samples_seen and c.n_params != corner.n_params]
    along_d = [c for c in by_cost if c.n_params == corner.n_params and c.samples_seen != corner.samples_seen]
    first = [corner, *along_n[:1], *along_d[:1]]
    return tuple([*first, *(cell for cell in by_cost if cell not in first)][:LEAST])


def choose_cells(cells: Sequence[Cell], budget: float, trials: int) -> tuple[Cell, ...]:
    """The cells of one family to search within a budget of FLOP, in the grid's order; the cheapest ones if none fits.

    Args:
        trials: of every cell, each of which costs a run.
    """
    Z = _rows(cells)
    costs = np.array([cell.flops * trials for cell in cells])
    chosen = [cells.index(cell) for cell in cheapest(cells)]
    while costs[chosen].sum() <= budget:
        better = _exchanged(Z, costs, chosen, budget) or _added(Z, costs, chosen, budget)
        if better is None:
            break
        chosen = better
    return tuple(cells[i] for i in sorted(chosen))


def criterion(Z: np.ndarray, chosen: Sequence[int]) -> float:
    """Mean variance of the predictions at all rows of Z (n, p), of a design of some of them."""
    X, ridge = Z[list(chosen)], (SCATTER / SLOPE) ** 2
    inverse = np.linalg.inv(X.T @ X + np.diag([0.0, ridge, ridge]))
    return float(np.einsum("ij,jk,ik->", Z, inverse, Z) / len(Z))


def _exchanged(Z: np.ndarray, costs: np.ndarray, chosen: list[int], budget: float) -> list[int] | None:
    """The best exchange of one cell for another."""
    ways = ([*chosen[:at], new, *chosen[at + 1 :]] for at in range(len(chosen)) for new in _left(Z, chosen))
    return _best(Z, costs, ways, budget, criterion(Z, chosen))


def _added(Z: np.ndarray, costs: np.ndarray, chosen: list[int], budget: float) -> list[int] | None:
    if len(chosen) >= MOST:
        return None
    return _best(Z, costs, ([*chosen, new] for new in _left(Z, chosen)), budget, criterion(Z, chosen))


def _best(
    Z: np.ndarray, costs: np.ndarray, ways: Iterable[list[int]], budget: float, now: float
) -> list[int] | None:  # fmt: skip
    """The design of least criterion within the budget; None where none is better than now."""
    able = [(criterion(Z, way), way) for way in ways if costs[way].sum() <= budget]
    value, best = min(able, default=(math.inf, []))
    return best if value < now * (1 - 1e-9) else None


def _left(Z: np.ndarray, chosen: Sequence[int]) -> list[int]:
    return [i for i in range(len(Z)) if i not in chosen]


def _rows(cells: Sequence[Cell]) -> np.ndarray:
    """(n, 3): 1 and the logarithms of N and D, about their means."""
    columns = np.log([[cell.n_params, cell.samples_seen] for cell in cells])
    return np.column_stack([np.ones(len(cells)), columns - columns.mean(axis=0)])
