"""A study's answer: its store becomes a frame, the analysis answers, and the storage keeps what was answered."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from analysis import Allocation, Answer, answer
from analysis.sources import read_study
from jobs.run import study_storage
from scaling.alignment import benchmark_regions
from scaling.errors import StudyError
from scaling.storage import Storage
from scaling.study import StudySpec, expand_study
from scaling.train.objectives.spec import ObjectiveSpec, objective_spec

FOLDER = "answer"


def answer_study(study: StudySpec) -> Answer:
    """The saved answer if it was made from the very scores that the store holds, else a new one, saved.

    Raises:
        StudyError: nothing is scored yet, or the scores are none that a measurement gives.
    """
    storage, frame = study_storage(study), study_frame(study)
    try:
        saved = _load(storage, frame)
        if saved is not None:
            return saved
        made = answer(frame)
    except ValueError as error:
        raise StudyError(f"study '{study.name}' has no answer: {error}") from error
    _save(storage, made)
    return made


def study_frame(study: StudySpec) -> pd.DataFrame:
    """The final scores of the study's own runs on its own benchmarks, one row each, and what each objective is.

    Columns objective (a label), objective_name and objective_weight (NaN where an objective has none);
    attrs["left_out"]: reason -> rows.

    Raises:
        StudyError: nothing is scored yet.
    """
    runs = {run.run_id: objective_spec(run.objective) for run in expand_study(study)}
    try:
        frame = read_study(study_storage(study).uri, runs)
    except (ValueError, FileNotFoundError) as error:
        raise StudyError(f"study '{study.name}' has no scores to fit ({error}); first: scaling run STUDY") from error
    left_out, scored = frame.attrs["left_out"], set(benchmark_regions(study.benchmarks))
    frame = frame[frame["benchmark"].isin(scored)].reset_index(drop=True)
    if frame.empty:
        raise StudyError(f"study '{study.name}' has no finished, scored run; run it first: scaling run STUDY")
    names, specs = objective_names(study), [runs[run_id] for run_id in frame["run_id"]]
    frame = frame.assign(
        objective=[names[spec] for spec in specs],
        objective_name=[spec.name for spec in specs],
        objective_weight=[float(getattr(spec, "weight", "nan")) for spec in specs],
    )
    frame.attrs["left_out"] = left_out
    return frame


def objective_names(study: StudySpec) -> dict[ObjectiveSpec, str]:
    """Each objective's name, with the options in which those of one name differ: 'harmonizer weight=10'."""
    specs = [objective_spec(objective) for objective in study.all_objectives]
    names = {}
    for spec in specs:
        alike = [other for other in specs if other.name == spec.name]
        told = [field for field in type(spec).model_fields if len({getattr(other, field) for other in alike}) > 1]
        names[spec] = spec.label(told)
    return names


def _load(storage: Storage, frame: pd.DataFrame) -> Answer | None:
    with tempfile.TemporaryDirectory() as scratch:
        local_copies(storage, Path(scratch), copy=True)
        return Answer.load(scratch, frame)


def _save(storage: Storage, made: Answer) -> None:
    """Replace the whole folder, so that nothing of an earlier answer stays."""
    with tempfile.TemporaryDirectory() as scratch:
        made.save(scratch)
        storage.delete_folder(FOLDER)
        for path in sorted(Path(scratch).iterdir(), key=lambda path: (path.name == "index.json", path.name)):
            storage.write_bytes(f"{FOLDER}/{path.name}", path.read_bytes())


def local_copies(storage: Storage, folder: Path, copy: bool = False) -> list[Path]:
    """The saved files on a local disk, copied into `folder` where the study's storage is remote, or where asked."""
    paths = []
    for name in storage.names(FOLDER):
        if storage.is_local and not copy:
            paths.append(Path(storage.path(f"{FOLDER}/{name}")))
        else:
            paths.append(folder / name)
            paths[-1].write_bytes(storage.read_bytes(f"{FOLDER}/{name}"))
    return paths


def print_answer(made: Answer, console: Console) -> None:
    """The table of laws, then the recipe at ten times the largest run's compute."""
    console.print(made.text(), highlight=False, markup=False, soft_wrap=True)
    print_recipe(made.allocate_each(made.budget), made.budget, made.target, console)


def print_recipe(allocations: Mapping[str, Allocation], flops: float, region: str, console: Console) -> None:
    """One block a family: the split of the budget, the predicted scores, how far it extrapolates."""
    console.print(f"Recipe for {flops:.3g} FLOP, best for {region}", highlight=False)
    for family, allocation in allocations.items():
        console.print(f"\n[bold]{family}[/bold]")
        console.print(allocation.text(), highlight=False, markup=False)


def recipe_json(allocations: Mapping[str, Allocation], region: str) -> dict[str, Any]:
    return {"region": region, "families": {name: a.to_dict() for name, a in allocations.items()}}
