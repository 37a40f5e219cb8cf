"""The grid as a map: rows N (a model each), columns D (images x epochs), in each cell its runs' states."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.print_map import columns_of
from jobs.watch.snapshot import STATES, Shown
from scaling.specs.run import RunSpec

ALL = 10**9  # stands for "all images", whatever there are: more than any number of images a class


@dataclass(frozen=True)
class Row:
    """A model. cells: one a column, state -> number of runs."""

    label: str
    cells: tuple[dict[str, int], ...]


@dataclass(frozen=True)
class GridMap:
    """One family's runs; columns: what stands above each."""

    family: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def grid_maps(runs: Sequence[Shown]) -> list[GridMap]:
    """A map a family, in the grid's order."""
    families = dict.fromkeys(shown.family for shown in runs)
    return [_map(family, [shown for shown in runs if shown.family == family]) for family in families]


def _map(family: str, runs: Sequence[Shown]) -> GridMap:
    columns = columns_of([_amount(shown.run) for shown in runs])
    cells: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    models: dict[str, list[Shown]] = defaultdict(list)
    for shown in runs:
        models[shown.run.model.label()].append(shown)
        cells[shown.run.model.label(), columns[_amount(shown.run)]][shown.state] += 1
    places = sorted(set(columns.values()))
    above = tuple(_above([shown for shown in runs if columns[_amount(shown.run)] == place]) for place in places)
    counted = all(shown.size.n_params is not None for shown in runs)
    order = sorted(models, key=lambda label: _size(models[label][0], counted))
    rows = tuple(
        Row(_model_text(label, models[label]), tuple(_by_state(cells[label, place]) for place in places))
        for label in order
    )
    return GridMap(family, above, rows)


def _size(shown: Shown, counted: bool) -> int:
    """N where that of all models is known, else what the family counts its sizes in."""
    return (shown.size.n_params if counted else shown.run.model.size) or 0


def _amount(run: RunSpec) -> int:
    """In the order of D, whatever the number of classes."""
    return (run.images_per_class or ALL) * run.training.epochs


def _by_state(cell: Counter[str]) -> dict[str, int]:
    return {state: cell[state] for state in STATES if cell[state]}


def _above(runs: Sequence[Shown]) -> str:
    """'70/class x 40', with D where it is known: '70/class x 40, D 2.8e+04'."""
    amounts = sorted({(_amount(shown.run), _amount_text(shown.run)) for shown in runs})
    seen = [shown.size.samples_seen for shown in runs]
    words = amounts[0][1] if len(amounts) == 1 else f"{amounts[0][1]} to {amounts[-1][1]}"
    return words if None in seen else f"{words}, D {max(s or 0 for s in seen):.2g}"


def _amount_text(run: RunSpec) -> str:
    images = "all" if run.images_per_class is None else f"{run.images_per_class}/class"
    return f"{images} × {run.training.epochs}"


def _model_text(label: str, runs: Sequence[Shown]) -> str:
    known = next((shown.size.n_params for shown in runs if shown.size.n_params), None)
    return label if known is None else f"{label}, N {known:.2g}"
