"""The study file: YAML -> StudySpec -> one RunSpec for every model x data size and length x seed x objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.errors import StudyError
from scaling.grid import Cell, budget_cells, grid_cells, training_of, with_trunks
from scaling.specs.base import override, read_spec
from scaling.specs.checkpoints import names_nothing, schedule_epochs
from scaling.specs.model import FamilySpec, ModelSpec
from scaling.specs.objective import ObjectiveSpec, check_objective, objective_spec
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec, check_batch_sizes, check_elastic
from scaling.specs.study import LONGEST_OWN, StudySpec, too_long
from scaling.specs.training import TrainingSpec, resolve_training
from scaling.specs.trunk import check_shared
from scaling.specs.tune import check_used
from scaling.yaml_file import read_fields


def load_study(path: str | Path) -> StudySpec:
    """Read and check a study file, its runs too.

    Raises:
        StudyError: as `read_study` and `expand_study`.
    """
    return parse_study(_fields(path), str(path))


def parse_study(content: dict[str, Any], where: str = "study") -> StudySpec:
    """A checked StudySpec from plain data, every run of which can be expanded."""
    study = read_spec(StudySpec, content, where)
    expand_study(study, where)
    return study


def read_study(path: str | Path) -> StudySpec:
    """Read a study file and check its fields; its grid is not expanded.

    Raises:
        StudyError: the file is missing or not YAML; a field is unknown, impossible or there twice, and is named.
    """
    return read_spec(StudySpec, _fields(path), str(path))


def _fields(path: str | Path) -> dict[str, Any]:
    return read_fields(path, "study file", "jobs/studies/quickstart.yaml")


def expand_study(study: StudySpec, where: str = "study") -> list[RunSpec]:
    """All runs of the grid, in the file's order; tuned fields are in the middle of their ranges, see `rates.at_rates`.

    Raises:
        StudyError: an override, a size, a checkpoint or a batch is impossible, or two cells of the grid are one run.
    """
    from scaling.models.mup import check_heads
    from scaling.models.sizes import resolve_model

    if len(study.name.encode()) > LONGEST_OWN:
        raise StudyError(f"{too_long(study.name)} ({where}, name)")
    runs = []
    for index, family in enumerate(study.models):
        place = f"{where}, models[{index}]"
        resolve_training(study.training, family.training, f"{place}.training")  # what is wrong of it in any cell
        resources = override(study.resources, family.resources, f"{place}.resources")
        asked = family.model_copy(update={"parametrization": family.parametrization or study.parametrization})
        models = [resolve_model(asked, size, study.dataset.image_size, place) for size in family.sizes]
        check_heads(models, place)
        for model in models:
            for objective in study.all_objectives:
                runs += _model_runs(study, family, model, objective, resources, place)
    _check_epochs(study, runs, where)
    for run in runs:
        check_batch_sizes(run, run.training.batch_size, where)  # a full batch; short ones once the data are known
    twice = [run_id for run_id, count in Counter(run.run_id for run in runs).items() if count > 1]
    if twice:
        twin = next(run for run in runs if run.run_id == twice[0])
        raise StudyError(
            f"two runs of the grid are the same ({twin.label()}; id {twice[0]}; {where}); "
            "remove the repeated family, size, data size, epochs, budget or seed"
        )
    return runs


def _model_runs(
    study: StudySpec, family: FamilySpec, model: ModelSpec, objective: str | ObjectiveSpec, resources: ResourceSpec,
    where: str,
) -> list[RunSpec]:  # fmt: skip
    """The runs of one model and objective: of the grid, joined to their trunks, then those that budgets add."""
    from scaling.models import check_training, has_batch_norm
    from scaling.models.mup import check_optimizer

    normed = has_batch_norm(model) or objective_spec(objective).batch_norm

    def of_cells(cells: Sequence[Cell]) -> list[RunSpec]:
        trainings = {}
        for cell in cells:
            place = f"{where}{cell.place(model)}"
            training = trainings[cell] = training_of(study, family, cell, f"{where}.training{cell.place(model)}")
            check_used(study.tune, training, objective, f"{where}, {model.label()}")
            check_training(model, training, f"{where}.training")
            check_objective(objective, training, resources.least_workers, place, resources.micro_batch)
            check_optimizer(model, training, where)
        return [
            _run(study, model, objective, cell, seed, trainings[cell], resources, normed)
            for cell in cells
            for seed in study.seeds
        ]

    cells = grid_cells(study)
    runs = of_cells(cells)
    if study.horizons is not None:
        check_shared(study.horizons, [run.training for run in runs[:: len(study.seeds)]], objective, where)
        runs = with_trunks(study.horizons, runs)
    there = {run.run_id for run in runs}
    return runs + [run for run in of_cells(budget_cells(study, model, objective, where)) if run.run_id not in there]


def _run(
    study: StudySpec,
    model: ModelSpec,
    objective: str | ObjectiveSpec,
    cell: Cell,
    seed: int,
    training: TrainingSpec,
    resources: ResourceSpec,
    normed: bool,
) -> RunSpec:
    score = schedule_epochs(study.checkpoints.score, training.epochs)
    keep = schedule_epochs(study.checkpoints.keep, training.epochs)
    run = RunSpec(
        study=study.name,
        model=model,
        dataset=study.dataset,
        images_per_class=cell.images_per_class,
        seed=seed,
        objective=objective,
        training=training,
        resources=resources,
        keep_epochs=tuple(sorted({*keep, *score, training.epochs})),
        score_epochs=score,
        has_batch_norm=normed,
    )
    check_elastic(run, f"study '{study.name}'")
    return run


def _check_epochs(study: StudySpec, runs: list[RunSpec], where: str) -> None:
    """Schedules that name no epoch of a run, and epochs that lie beyond one."""
    by_length = {run.training.epochs: run for run in runs}
    for field in ("keep", "score"):
        nothing = names_nothing(getattr(study.checkpoints, field), by_length)
        if nothing is not None:
            written, epochs = nothing
            raise StudyError(
                f"{{{written}}} names no epoch of a run of epochs={epochs} ({by_length[epochs].label()}; "
                f"{where}, checkpoints.{field}); lower it, train longer, or write 'last' beside it"
            )
    for run in runs:
        beyond = [epoch for epoch in run.keep_epochs if epoch > run.training.epochs]
        if beyond:
            raise StudyError(
                f"checkpoints at epoch {beyond[0]} exceed epochs={run.training.epochs} of {run.label()} "
                f"({where}, checkpoints); lower it, train longer or write 'last'"
            )
