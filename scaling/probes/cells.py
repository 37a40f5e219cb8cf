"""The cells of a study's grid: model x data size x objective, with what a run of each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scaling.data.portions import ImageCounts
from scaling.enough import family_names
from scaling.models.cost import model_cost, training_flops
from scaling.rates import cell_key
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.specs.tune import TuneSpec


@dataclass(frozen=True)
class Cell:
    """run: one of its runs; group: whose law of rates it is of; flops: C of one run; n_runs: how many the grid has."""

    key: str
    group: str
    run: RunSpec
    n_params: int
    samples_seen: int
    flops: float
    n_runs: int = 1

    def label(self) -> str:
        images = "all" if self.run.images_per_class is None else self.run.images_per_class
        return f"{self.run.model.label()}, {images} images/class, {self.run.training.epochs} epochs"


def grid_cells(runs: Sequence[RunSpec], tune: TuneSpec, counts: ImageCounts) -> tuple[Cell, ...]:
    """The cells of a grid, in its order."""
    groups, found = group_names(runs), dict[str, Cell]()
    for run in runs:
        key = cell_key(run, tune)
        if key in found:
            found[key] = replace(found[key], n_runs=found[key].n_runs + 1)
        else:
            found[key] = _cell(key, groups[run.run_id], run, counts)
    return tuple(found.values())


def group_names(runs: Sequence[RunSpec]) -> dict[str, str]:
    """run_id -> whose law of rates it is of: a family as the analysis names it, and its optimizer where it has two."""
    families = family_names(runs)
    optimizers: dict[str, set[str]] = {}
    for run in runs:
        optimizers.setdefault(families[run.run_id], set()).add(run.training.optimizer)
    return {
        run.run_id: name if len(optimizers[name := families[run.run_id]]) == 1 else f"{name} {run.training.optimizer}"
        for run in runs
    }


def grid_flops(cells: Sequence[Cell]) -> float:
    return sum(cell.flops * cell.n_runs for cell in cells)


def _cell(key: str, group: str, run: RunSpec, counts: ImageCounts) -> Cell:
    n_params, flops_per_image = model_cost(run.model, counts.image_size, counts.n_classes)
    n = counts.n_train if run.images_per_class is None else run.images_per_class * counts.n_classes
    seen = n * run.training.epochs
    flops = training_flops(flops_per_image, seen, objective_spec(run.objective).passes)
    return Cell(key, group, run, n_params, seen, flops)
