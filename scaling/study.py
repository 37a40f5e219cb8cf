"""The study file: YAML -> StudySpec -> one RunSpec for every model x data size x seed x objective."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from scaling.errors import StudyError
from scaling.specs.base import override, read_spec
from scaling.specs.checkpoints import schedule_epochs
from scaling.specs.model import ModelSpec
from scaling.specs.objective import ObjectiveSpec, check_objective, objective_spec
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec, check_batch_sizes
from scaling.specs.study import StudySpec
from scaling.specs.training import TrainingSpec, resolve_training
from scaling.specs.tune import provisional_training
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
    from scaling.models import has_batch_norm
    from scaling.models.sizes import resolve_model

    runs = []
    for index, family in enumerate(study.models):
        place = f"{where}, models[{index}]"
        training = resolve_training(study.training, family.training, f"{place}.training")
        training = provisional_training(study.tune, study.training, family.training, training, place)
        resources = override(study.resources, family.resources, f"{place}.resources")
        for objective in study.all_objectives:
            check_objective(objective, training, resources.workers, place, resources.micro_batch)
        for size in family.sizes:
            model = resolve_model(family, size, study.dataset.image_size, place)
            normed = has_batch_norm(model)
            runs += [
                _run(study, model, objective, data_size, seed, training, resources, normed)
                for objective in study.all_objectives
                for data_size in study.data_sizes
                for seed in study.seeds
            ]
    _check_epochs(study, runs, where)
    for run in runs:
        check_batch_sizes(run, run.training.batch_size, where)  # a full batch; short ones once the data are known
    twice = [run_id for run_id, count in Counter(run.run_id for run in runs).items() if count > 1]
    if twice:
        twin = next(run for run in runs if run.run_id == twice[0])
        raise StudyError(
            f"two runs of the grid are the same ({twin.label()}; id {twice[0]}; {where}); "
            "remove the repeated family, size, data size or seed"
        )
    return runs


def _run(
    study: StudySpec,
    model: ModelSpec,
    objective: str | ObjectiveSpec,
    data_size: int | str,
    seed: int,
    training: TrainingSpec,
    resources: ResourceSpec,
    normed: bool,
) -> RunSpec:
    score = schedule_epochs(study.checkpoints.score, training.epochs)
    keep = schedule_epochs(study.checkpoints.keep, training.epochs)
    return RunSpec(
        study=study.name,
        model=model,
        dataset=study.dataset,
        images_per_class=None if data_size == "all" else int(data_size),
        seed=seed,
        objective=objective,
        training=training,
        resources=resources,
        keep_epochs=tuple(sorted({*keep, *score, training.epochs})),
        score_epochs=score,
        has_batch_norm=normed or objective_spec(objective).batch_norm,
    )


def _check_epochs(study: StudySpec, runs: list[RunSpec], where: str) -> None:
    for run in runs:
        beyond = [epoch for epoch in run.keep_epochs if epoch > run.training.epochs]
        if beyond:
            raise StudyError(
                f"checkpoints at epoch {beyond[0]} exceed epochs={run.training.epochs} of {run.label()} "
                f"({where}, checkpoints); lower it, train longer or write 'last'"
            )
