"""Which cells of a family are searched: those that tell the law of rates best for a share of the grid's FLOP.

The law is log lr* = a + b log N + c log D, so that a design X (a row a cell) predicts the grid's cells Z with mean
variance tr(Z (X'X)^-1 Z') / n, in units of one cell's: the criterion (I-optimality, e.g. Atkinson, Donev & Tobias 2007,
ch. 10). Fedorov's exchange: from the cheapest design on, cells are exchanged one by one, then added, as long as that
lowers the criterion most and the budget holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from scaling.probes.cells import Cell

LEAST, MOST = 4, 8  # cells of a family: one more than the law's numbers, and as many more
RIDGE = 1e-6  # makes a design that leaves a slope open comparable: as bad as it is


def cheapest(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cheapest cells that span both axes: the two smallest sizes by the two smallest amounts of data.

    A grid without a second size, or amount, gives the smallest ones of the other axis.
    """
    by_cost = sorted(cells, key=lambda cell: cell.flops)
    n = min(LEAST, len(cells))
    sizes, amounts = _least(cell.n_params for cell in cells), _least(cell.samples_seen for cell in cells)
    corner = [cell for cell in by_cost if cell.n_params in sizes[:2] and cell.samples_seen in amounts[:2]]
    if len(corner) < n or len({*sizes}) < 2 or len({*amounts}) < 2:
        corner += [cell for cell in by_cost if cell not in corner]
    return tuple(corner[:n])


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
    X = Z[list(chosen)]
    inverse = np.linalg.inv(X.T @ X + RIDGE * np.eye(Z.shape[1]))
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
    """(n, 3): 1 and the logarithms of N and D, from -1 to 1 over the grid."""
    columns = [np.log([cell.n_params for cell in cells]), np.log([cell.samples_seen for cell in cells])]
    scaled = [2 * (x - x.min()) / (np.ptp(x) or 1.0) - 1 if np.ptp(x) else np.zeros(len(x)) for x in columns]
    return np.column_stack([np.ones(len(cells)), *scaled])


def _least(values: Iterable[int]) -> list[int]:
    return sorted(set(values))
