"""Weights to start from in place of random ones: fine-tuning."""

from __future__ import annotations

import torch
from torch import nn

from scaling.checkpoints.tensors import load_tensors
from scaling.errors import StudyError
from scaling.layout import weights_name
from scaling.records import ResultsStore, kept_epochs
from scaling.specs.run import RunSpec
from scaling.storage import Storage


def load_start(model: nn.Module, run: RunSpec, start_from: str) -> None:
    """Put a checkpoint's weights into the model.

    Args:
        start_from: a file `….safetensors`, or a study's folder with a finished supervised run that has the run's model,
            dataset, images a class and seed; its last kept weights are taken.

    Raises:
        StudyError: no such file or run, or its weights do not fit the model.
    """
    if start_from.endswith(".safetensors"):
        folder, _, name = start_from.rpartition("/")
        tensors, _ = load_tensors(Storage(folder or "."), name)
    else:
        tensors = _twin_weights(run, start_from)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise StudyError(
            f"weights '{start_from}' do not fit {run.label()} ({reason}; objective.start_from); give this model's own"
        ) from error


def _twin_weights(run: RunSpec, folder: str) -> dict[str, torch.Tensor]:
    storage = Storage(folder)
    for record in ResultsStore(storage).read_runs().values():
        twin = RunSpec.model_validate_json(record.spec)
        same = _cell(twin) == _cell(run) and twin.objective == "supervised"
        if same and record.status == "finished":
            return load_tensors(storage, weights_name(record.run_id, kept_epochs(record)[-1]))[0]
    raise StudyError(
        f"study folder '{folder}' has no finished supervised run of {run.label()} on '{run.dataset.name}' "
        "(objective.start_from); train it first, or give a checkpoint"
    )


def _cell(run: RunSpec) -> tuple[object, ...]:
    return run.model.identity(), run.dataset.name, run.dataset.image_size, run.images_per_class, run.seed
