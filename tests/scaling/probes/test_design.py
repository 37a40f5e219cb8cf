"""Which cells are probed: within the share, over both axes, and as good as the best designs of that cost."""

from __future__ import annotations

import itertools

import pytest

from scaling.probes.cells import Cell, grid_flops
from scaling.probes.design import MOST, _rows, choose_cells, criterion
from scaling.specs.run import RunSpec

TRIALS = 9


def grid(make_run, sizes: list[int], amounts: list[int], seeds: int = 2) -> list[Cell]:
    """N ~ w^2, C = 6 N D: the cells of a ladder of widths."""
    run: RunSpec = make_run()
    return [
        Cell(f"{w}-{d}", "resnet", run, 500 * w * w, d, 6.0 * 500 * w * w * d, seeds) for w in sizes for d in amounts
    ]


def cost(cells: list[Cell]) -> float:
    return TRIALS * sum(cell.flops for cell in cells)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3])
def test_the_share_holds_and_both_axes_are_spanned(make_run, share: float) -> None:
    cells = grid(make_run, [2, 4, 8, 16], [600, 1800, 5400, 15000, 36000])
    chosen = choose_cells(cells, share * grid_flops(cells), TRIALS)
    assert cost(list(chosen)) <= share * grid_flops(cells)
    assert 4 <= len(chosen) <= MOST
    assert len({cell.n_params for cell in chosen}) >= 2
    assert len({cell.samples_seen for cell in chosen}) >= 2
    assert set(chosen) <= set(cells)


def test_more_compute_makes_a_better_design(make_run) -> None:
    cells = grid(make_run, [2, 4, 8, 16], [600, 1800, 5400, 15000])
    designs = [choose_cells(cells, share * grid_flops(cells), TRIALS) for share in (0.03, 0.1, 0.4)]
    Z = _rows(cells)
    values = [criterion(Z, [cells.index(cell) for cell in design]) for design in designs]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[0]


def test_exchange_comes_near_the_best_of_all_designs(make_run) -> None:
    """Against every design of up to five cells of a small grid."""
    cells = grid(make_run, [2, 4, 8], [600, 1800, 5400, 16000])
    budget, Z = 0.1 * grid_flops(cells), _rows(cells)
    chosen = choose_cells(cells, budget, TRIALS)
    every = (
        criterion(Z, ids)
        for k in (4, 5)
        for ids in itertools.combinations(range(len(cells)), k)
        if cost([cells[i] for i in ids]) <= budget
    )
    assert criterion(Z, [cells.index(cell) for cell in chosen]) <= 1.25 * min(every)


@pytest.mark.parametrize(("sizes", "amounts"), [([2], [600, 1800, 5400]), ([2, 4, 8], [600]), ([2], [600])])
def test_a_grid_of_one_axis_gives_what_it_has(make_run, sizes: list[int], amounts: list[int]) -> None:
    cells = grid(make_run, sizes, amounts)
    chosen = choose_cells(cells, 1e30, TRIALS)
    assert len(chosen) == len(cells)


def test_a_budget_that_holds_nothing_gives_the_cheapest_corner(make_run) -> None:
    """The caller refuses it, with the numbers."""
    cells = grid(make_run, [2, 4, 8], [600, 1800, 5400])
    assert [cell.key for cell in choose_cells(cells, 1.0, TRIALS)] == ["2-600", "2-1800", "2-5400", "4-600"]
