"""The rates that a study's cells are trained at: found by its probes, kept in its folder, never changed silently."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from scaling.errors import DamagedFile, StudyError
from scaling.layout import RATES_FILE
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.specs.training import TrainingSpec, stored_training
from scaling.specs.tune import TuneSpec
from scaling.storage import Storage

SEARCH = (
    "how",
    "fields",
    "families",
    "trials",
    "validation",
    "grace_epochs",
    "reduction",
    "seed",
)  # what rates depend on


class StudyRates(BaseModel):
    """What `rates.json` holds.

    tune: the search that they come from. cells: cell -> field -> value, see `cell_key`. report: how they were found, as
    `analysis.rates.report.RateReport` has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    tune: Mapping[str, Any]
    cells: Mapping[str, Mapping[str, float]]
    report: Mapping[str, Any]


def search_of(tune: TuneSpec) -> dict[str, Any]:
    """What of a `tune` its rates depend on: a share that is raised later changes none."""
    return tune.model_dump(mode="json", include=set(SEARCH))


def cell_key(run: RunSpec, tune: TuneSpec) -> str:
    """What a run's seeds and trials share: its id without seed, tuned fields and validation images."""
    defaults = {name: TrainingSpec.model_fields[name].default for name in tune.fields}
    training = run.training.model_copy(update=defaults)
    return run.model_copy(update={"seed": 0, "validation": 0.0, "training": training}).run_id


def with_fields(run: RunSpec, values: Mapping[str, float]) -> RunSpec:
    """The run with other values of tuned fields."""
    training = stored_training(run.training.model_dump() | dict(values))
    return run.model_copy(update={"training": training})


def at_rates(runs: Sequence[RunSpec], tune: TuneSpec, rates: StudyRates, where: str) -> list[RunSpec]:
    """A study's runs at the rates of their cells.

    Raises:
        StudyError: a cell has none, as the grid was another when they were found.
    """
    found = []
    for run in runs:
        values = rates.cells.get(cell_key(run, tune))
        if values is None:
            raise StudyError(
                f"no rate was found for {run.label()} ({where}): the study's grid or training was another when its "
                f"rates were ({RATES_FILE}); restore it, or give the study a new name"
            )
        found.append(with_fields(run, values))
    return found


def read_rates(spec: StudySpec, storage: Storage) -> StudyRates | None:
    """The rates of a tuned study; None before they are found, and of a study that is not tuned.

    Raises:
        StudyError: they come of another search. DamagedFile: they cannot be read.
    """
    if spec.tune is None or not spec.tune.is_on or not storage.exists(RATES_FILE):
        return None
    place = storage.path(RATES_FILE)
    try:
        rates = StudyRates.model_validate_json(storage.read_bytes(RATES_FILE))
    except ValidationError as error:
        raise DamagedFile(
            f"'{place}' holds no rates ({error.errors()[0]['msg']}); remove it, and `scaling run` fits them anew from "
            "the probes that are there"
        ) from error
    changed = [name for name, value in search_of(spec.tune).items() if rates.tune.get(name) != value]
    if changed:
        raise StudyError(
            f"tune.{changed[0]} is {json.dumps(search_of(spec.tune)[changed[0]])}, and was "
            f"{json.dumps(rates.tune.get(changed[0]))} when the study's rates were found ({place}); restore it, or "
            "give the study a new name"
        )
    return rates


def write_rates(storage: Storage, rates: StudyRates) -> None:
    """Keep rates, once.

    Raises:
        StudyError: there are some.
    """
    if storage.exists(RATES_FILE):
        raise StudyError(f"'{storage.path(RATES_FILE)}' is there, and a study's rates stay; give the study a new name")
    storage.write_bytes(RATES_FILE, rates.model_dump_json(indent=1).encode())
