"""Checkpoints in safetensors: weights with everything that scoring needs in the header, and the resume state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scaling.errors import StudyError
from scaling.models import build_model
from scaling.study import RunSpec

if TYPE_CHECKING:
    from torch import nn

    from scaling.storage import Storage


class CheckpointInfo(BaseModel):
    """What a weights file says of itself; `mean` and `std` are the channel statistics its images were scaled by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: RunSpec
    epoch: int
    samples_seen: int
    flops: float
    accuracy: float
    image_size: int
    n_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def weights_name(run_id: str, epoch: int) -> str:
    return f"checkpoints/{run_id}/epoch-{epoch:05d}.safetensors"


def resume_name(run_id: str) -> str:
    return f"checkpoints/{run_id}/resume.safetensors"


def save_weights(storage: Storage, model: nn.Module, info: CheckpointInfo) -> None:
    """Write a checkpoint, whole or not at all; the header's `checkpoint` entry is the info as JSON."""
    save_tensors(
        storage,
        weights_name(info.run.run_id, info.epoch),
        dict(model.state_dict()),
        {"checkpoint": info.model_dump_json()},
    )


def load_weights(storage: Storage, run_id: str, epoch: int) -> tuple[nn.Module, CheckpointInfo]:
    """The model of a run at an epoch, in eval mode on the CPU.

    Raises:
        StudyError: the file is missing or damaged.
    """
    tensors, header = load_tensors(storage, weights_name(run_id, epoch))
    info = CheckpointInfo.model_validate_json(header["checkpoint"])
    model = build_model(info.run.model, info.image_size, info.n_classes)
    model.load_state_dict(tensors)
    return model.eval(), info


def save_tensors(storage: Storage, name: str, tensors: Mapping[str, torch.Tensor], header: dict[str, str]) -> None:
    with storage.new_file(name) as path:
        save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, path, metadata=header)


def load_tensors(storage: Storage, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file.

    Raises:
        StudyError: the file is missing or damaged.
    """
    try:
        with storage.local_file(name) as path, safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise StudyError(
            f"checkpoint '{storage.path(name)}' cannot be read ({error}); delete the run's record and checkpoints "
            "and run the study again"
        ) from error


def flat_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's per-parameter tensors as `optimizer.<parameter index>.<name>`."""
    return {
        f"optimizer.{index}.{name}": value if torch.is_tensor(value) else torch.tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }


def restore_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `flat_optimizer_state` gave; groups and rates stay the optimizer's own."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in _under("optimizer.", tensors):
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def model_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(_under("model.", tensors))


def objective_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(_under("objective.", tensors))


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of torch's global generators, as tensors."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    return ((key.removeprefix(prefix), tensor) for key, tensor in tensors.items() if key.startswith(prefix))
