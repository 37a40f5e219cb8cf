"""The cells of a study's grid: how many images and epochs, by data size, epochs, horizons and budgets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from scaling.data.portions import images_and_epochs, stated_counts
from scaling.errors import StudyError
from scaling.specs.base import MOST_EPOCHS
from scaling.specs.model import FamilySpec, ModelSpec
from scaling.specs.objective import ObjectiveSpec, objective_spec
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.specs.training import TrainingSpec, resolve_training
from scaling.specs.trunk import HorizonsSpec
from scaling.specs.tune import provisional_training

WITHIN = 0.01  # share by which a run's C may miss its budget


class Cell(NamedTuple):
    """images_per_class: None: all. epochs: None: as the training has them. budget: FLOP that it spends, if any."""

    images_per_class: int | None
    epochs: int | None = None
    budget: float | None = None

    def place(self, model: ModelSpec) -> str:
        """Where in the grid it is, behind where in the file; nothing of a cell whose epochs the training has."""
        if self.epochs is None:
            return ""
        budget = "" if self.budget is None else f" of budgets={self.budget:.4g} (raise the budget to train longer)"
        return f"; {model.label()}, {self.images_per_class or 'all'} images/class, {self.epochs} epochs{budget}"


def grid_cells(study: StudySpec) -> list[Cell]:
    """Data sizes x epochs (or horizons), in the file's order; budgets come on top, see `budget_cells`."""
    if not study.has_grid:
        return []
    if study.horizons is not None and study.horizons.data:
        return [Cell(images, 1) for images in study.horizons.data]
    axis: Sequence[int | None] = (study.horizons.epochs if study.horizons else study.epochs) or (None,)
    images = [None if size == "all" else int(size) for size in study.data_sizes]
    return [Cell(size, epochs) for size in images for epochs in axis]


def budget_cells(study: StudySpec, model: ModelSpec, objective: str | ObjectiveSpec, where: str) -> list[Cell]:
    """For each budget the images and epochs with which a model spends it.

    D = budget / (passes . flops_per_image) becomes as many unique images as there are, in whole epochs.

    Raises:
        StudyError: whole images of every class spend no budget within WITHIN, only more than MOST_EPOCHS do, or two
            budgets are spent by the same.
    """
    if not study.budgets:
        return []
    from scaling.models.cost import model_cost

    counts = stated_counts(study.dataset, f"{where}, budgets")
    one_image = (
        objective_spec(objective).passes * model_cost(model, counts.image_size, counts.n_classes).flops_per_image
    )
    cells = []
    for budget in study.budgets:
        if budget / one_image > MOST_EPOCHS * counts.n_train:
            raise StudyError(
                f"budgets={budget:.4g} FLOP are {budget / one_image / counts.n_train:.3g} epochs of all "
                f"{counts.n_train:,} images for {model.label()}, above the limit of {MOST_EPOCHS:,} ({where}); lower "
                "the budget, or leave this size out"
            )
        shown = images_and_epochs(max(budget / one_image, 1.0), counts, WITHIN)
        spent = one_image * shown.samples_seen
        if abs(spent / budget - 1) > WITHIN:
            times = "1 epoch" if shown.epochs == 1 else f"{shown.epochs:,} epochs"
            raise StudyError(
                f"budgets={budget:.4g} FLOP cannot be spent within {WITHIN:.0%} by {model.label()}, which sees "
                f"{budget / one_image:.4g} images for it: {shown.n_samples:,} images, as many of each of "
                f"{counts.n_classes} classes, in {times} spend {spent:.4g} ({where}); raise the budget, or leave this "
                "size out"
            )
        cells.append(Cell(shown.images_per_class or counts.least, shown.epochs, budget))
    _check_apart(cells, model, where)
    return cells


def _check_apart(cells: Sequence[Cell], model: ModelSpec, where: str) -> None:
    for first, second in combinations(cells, 2):
        if first[:2] == second[:2]:
            raise StudyError(
                f"two runs of the grid are the same: budgets={first.budget:.6g} and budgets={second.budget:.6g} are "
                f"both {first.images_per_class:,} images/class in {first.epochs} epochs for {model.label()} ({where}); "
                "remove one of the budgets, or move them apart"
            )


def training_of(study: StudySpec, family: FamilySpec, cell: Cell, where: str) -> TrainingSpec:
    """A family's training in a cell: durations are written once, and hold at each cell's epochs.

    Raises:
        StudyError: as `resolve_training` and `provisional_training`.
    """
    above = dict(family.training) | ({} if cell.epochs is None else {"epochs": cell.epochs})
    if study.horizons is not None and study.horizons.data and cell._replace(budget=None) in grid_cells(study):
        above |= {"order": "nested"}
    training = resolve_training(study.training, above, where)
    return provisional_training(study.tune and study.tune.of(family.family), study.training, above, training, where)


def with_trunks(horizons: HorizonsSpec, runs: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs of one model and objective, each told its trunk, and each trunk its branches.

    Runs of one seed (and, where epochs grow, of one data size) share the trunk of the longest of them.
    """
    groups: defaultdict[tuple[int, int | None], list[RunSpec]] = defaultdict(list)
    for run in runs:
        groups[run.seed, None if horizons.data else run.images_per_class].append(run)
    joined: dict[str, RunSpec] = {}
    for group in groups.values():
        *short, trunk = group
        branches = tuple((run.training.epochs, run.images_per_class) for run in short)
        joined |= {run.run_id: run.model_copy(update={"trunk": trunk.run_id}) for run in short}
        joined[trunk.run_id] = trunk.model_copy(update={"branches": branches})
    return [joined[run.run_id] for run in runs]
