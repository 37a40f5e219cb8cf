"""The resume file of a run: everything that the next step needs, and when to write it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from scaling.checkpoints.tensors import load_tensors, save_tensors, tensors_under
from scaling.layout import resume_name
from scaling.records import EpochRecord
from scaling.storage import Storage

EPOCH_INTERVAL_S = 2.0  # epochs that end sooner after the last save share a resume file
STEP_INTERVAL_S = 30.0  # within an epoch
MOST_OF_TIME = 0.02  # share of the time that saving may take


@dataclass
class Progress:
    """How far a run is: `epoch` whole epochs and `step` steps of the next.

    loss_sum: over the images of those steps, all workers; seconds, busy_s: that they took, and the part spent in steps;
    train_s: of the whole epochs.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    busy_s: float = 0.0
    train_s: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    def header(self) -> dict[str, str]:
        numbers = {name: getattr(self, name) for name in ("epoch", "step", "loss_sum", "seconds", "busy_s", "train_s")}
        history = [record.model_dump() for record in self.history]
        return {"progress": json.dumps(numbers), "history": json.dumps(history)}

    @classmethod
    def from_header(cls, header: Mapping[str, str]) -> Progress:
        history = [EpochRecord.model_validate(row) for row in json.loads(header["history"])]
        return cls(**json.loads(header["progress"]), history=history)


class SaveClock:
    """Says when the next resume file is due, so that saving stays a small share of training."""

    def __init__(self) -> None:
        self._last, self._cost = time.monotonic(), 0.0

    def due(self, interval_s: float) -> bool:
        return time.monotonic() - self._last >= max(interval_s, self._cost / MOST_OF_TIME)

    def saved(self, began: float) -> None:
        """A save that began at `began` has ended now."""
        self._last = time.monotonic()
        self._cost = self._last - began


def save_resume(
    storage: Storage,
    run_id: str,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write the modules' and the optimizer's state and the progress, whole or not at all."""
    tensors = {
        f"{prefix}.{name}": tensor for prefix, module in modules.items() for name, tensor in module.state_dict().items()
    }
    tensors |= flat_optimizer_state(optimizer)
    save_tensors(storage, resume_name(run_id), tensors, progress.header())


def load_resume(
    storage: Storage, run_id: str, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Put back what `save_resume` wrote; None where there is no such file.

    Raises:
        StudyError: the file is damaged.
    """
    name = resume_name(run_id)
    if not storage.exists(name):
        return None
    tensors, header = load_tensors(storage, name)
    for prefix, module in modules.items():
        module.load_state_dict(tensors_under(f"{prefix}.", tensors))
    restore_optimizer_state(optimizer, tensors)
    return Progress.from_header(header)


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
    for key, tensor in tensors_under("optimizer.", tensors).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
