"""Weights to start from in place of random ones: fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import nn

from scaling.checkpoints.tensors import load_tensors
from scaling.checkpoints.weights import FACTS
from scaling.errors import DamagedFile, MissingFile, StudyError
from scaling.layout import WEIGHTS, weights_name
from scaling.place import Place, shown
from scaling.records import ResultsStore, kept_epochs
from scaling.specs.run import RunSpec
from scaling.storage import Storage


def load_start(model: nn.Module, run: RunSpec, start_from: str) -> None:
    """Put a checkpoint's weights into the model.

    Args:
        start_from: a file `….safetensors`, or a study's folder with a finished supervised run that has the run's model,
            dataset, images a class and seed; its last kept weights are taken.

    Raises:
        StudyError: no such run, or weights that do not fit the model or its parametrization. MissingFile, DamagedFile:
            of the weights.
        StorageError: their place does not answer.
    """
    try:
        tensors = _file_weights(run, start_from) if _is_file(start_from) else _twin_weights(run, start_from)
        model.load_state_dict(tensors)
    except (MissingFile, DamagedFile) as error:
        raise type(error)(f"objective.start_from='{shown(start_from)}': {error}") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise StudyError(
            f"weights '{shown(start_from)}' do not fit {run.label()} ({reason}; objective.start_from); "
            "give this model's own"
        ) from error


def _is_file(start_from: str) -> bool:
    return Place.of(start_from).name.endswith(WEIGHTS)


def _file_weights(run: RunSpec, start_from: str) -> dict[str, torch.Tensor]:
    tensors, header = load_tensors(*Storage.of_file(start_from))
    if (theirs := _rule(header)) not in (None, ours := (run.model.parametrization, run.model.base_size)):
        raise StudyError(
            f"weights '{shown(start_from)}' are of parametrization {_told(theirs)}, and {run.label()} is of "
            f"{_told(ours)}: its outputs would be others (objective.start_from); give this model's own"
        )
    return tensors


def _rule(header: Mapping[str, str]) -> tuple[str, int | None] | None:
    """Parametrization and base of the model in a checkpoint's header; None of a file that is not this project's."""
    try:
        model = json.loads(header[FACTS])["run"]["model"]
        return model.get("parametrization", "standard"), model.get("base_size")
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _told(rule: tuple[str, int | None] | None) -> str:
    return " ".join(str(part) for part in rule or () if part is not None)


def _twin_weights(run: RunSpec, folder: str) -> dict[str, torch.Tensor]:
    storage = Storage(folder)
    store = ResultsStore(storage)
    for record in store.read_runs().values():
        twin = RunSpec.model_validate_json(record.spec)
        same = _cell(twin) == _cell(run) and twin.objective == "supervised"
        if same and record.status == "finished":
            return load_tensors(storage, weights_name(record.run_id, kept_epochs(record)[-1]))[0]
    damaged = f" ({len(store.damaged)} damaged records were left out)" if store.damaged else ""
    raise StudyError(
        f"study folder '{storage.shown}' has no finished supervised run of {run.label()} on '{run.dataset.name}'"
        f"{damaged} (objective.start_from); train it first, or give a checkpoint"
    )


def _cell(run: RunSpec) -> tuple[object, ...]:
    data = run.dataset.name, run.dataset.image_size, tuple(run.dataset.choices().items())
    return run.model.identity(), data, run.images_per_class, run.seed
