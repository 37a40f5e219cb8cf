"""The resume file of a run: everything that the next step needs, and when to write it."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from scaling.checkpoints.tensors import load_tensors, save_tensors, tensors_under
from scaling.errors import DamagedFile, MissingFile
from scaling.layout import resume_name, resume_note
from scaling.records import EpochRecord
from scaling.storage import Storage

EPOCH_INTERVAL_S = 2.0  # epochs that end sooner after the last save share a resume file
STEP_INTERVAL_S = 30.0  # within an epoch
MOST_OF_TIME = 0.02  # share of the time that saving may take


@dataclass
class RunProgress:
    """How far a run is: `epoch` whole epochs and `step` steps of the next.

    loss_sum: over the images of those steps, all workers; seconds, busy_s: that they took, and the part spent in steps;
    train_s: of the whole epochs. shared_steps: the first, which a trunk has made.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    busy_s: float = 0.0
    train_s: float = 0.0
    shared_steps: int = 0
    history: list[EpochRecord] = field(default_factory=list)

    def header(self) -> dict[str, str]:
        numbers = {name: value for name, value in vars(self).items() if name != "history"}
        history = [record.model_dump() for record in self.history]
        return {"progress": json.dumps(numbers), "history": json.dumps(history)}

    @classmethod
    def from_header(cls, header: Mapping[str, str]) -> RunProgress:
        """What `header` gave.

        Raises:
            DamagedFile: it is something else.
        """
        try:
            history = [EpochRecord.model_validate(row) for row in json.loads(header["history"])]
            progress = cls(**json.loads(header["progress"]), history=history)
            counts = (progress.epoch, progress.step, progress.shared_steps)
            whole = all(type(number) is int and number >= 0 for number in counts)
            if not (whole and all(math.isfinite(s) for s in (progress.seconds, progress.busy_s, progress.train_s))):
                raise ValueError(f"progress {header['progress']}")
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFile(f"its header is not what was written ({type(error).__name__}: {error})") from error
        return progress

    def of_branch(self, run_id: str, steps: int) -> RunProgress:
        """A trunk's progress as that of a run which begins with its first `steps`."""
        history = [record.model_copy(update={"run_id": run_id}) for record in self.history]
        return replace(self, shared_steps=steps, history=history)


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
    progress: RunProgress,
    name: str | None = None,
) -> None:
    """Write the modules' and the optimizer's state and the progress, whole or not at all.

    Args:
        name: of the file; by default the run's resume file.
    """
    tensors = {
        f"{prefix}.{name}": tensor for prefix, module in modules.items() for name, tensor in module.state_dict().items()
    }
    tensors |= flat_optimizer_state(optimizer)
    save_tensors(storage, name or resume_name(run_id), tensors, progress.header())


def load_resume(
    storage: Storage,
    run_id: str,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    name: str | None = None,
) -> RunProgress | None:
    """Put back what `save_resume` wrote; None where there is no such file, or one of no use, which is set aside.

    Nothing is put back before all of it is known to fit, so that a run that begins anew begins as a new one does.

    Args:
        name: of the file; by default the run's resume file.

    Raises:
        StorageError: the place does not answer.
    """
    name = name or resume_name(run_id)
    try:
        tensors, header = load_tensors(storage, name)
        progress = RunProgress.from_header(header)
        for prefix, module in modules.items():
            _check_fits(prefix, module.state_dict(), tensors_under(f"{prefix}.", tensors))
        _check_optimizer(optimizer, tensors)
    except MissingFile:
        return None
    except DamagedFile as error:
        _set_aside(storage, run_id, name, str(error))
        return None
    for prefix, module in modules.items():
        module.load_state_dict(tensors_under(f"{prefix}.", tensors))
    restore_optimizer_state(optimizer, tensors)
    return progress


def _set_aside(storage: Storage, run_id: str, name: str, reason: str) -> None:
    """Delete a resume file of no use, and keep the reason beside the run's weights."""
    reason = f"run {run_id} begins anew, its resume file is of no use: {reason}"
    warnings.warn(reason, stacklevel=3)
    storage.write_bytes(resume_note(run_id), f"{reason}\n".encode())
    storage.delete(name)


def _check_fits(prefix: str, wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that are not those of a module by name, shape and type."""
    for name in sorted(wanted.keys() ^ found.keys()):
        raise DamagedFile(f"tensor '{prefix}.{name}' is {'absent' if name in wanted else 'too many'}")
    for name, tensor in wanted.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise DamagedFile(
                f"tensor '{prefix}.{name}' is {found[name].dtype} {tuple(found[name].shape)}, not {tensor.dtype} "
                f"{tuple(tensor.shape)}"
            )


def _check_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse state of parameters that are not there, or of another shape than theirs."""
    shapes = {str(i): p.shape for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    for key, tensor in tensors_under("optimizer.", tensors).items():
        index = key.partition(".")[0]
        if index not in shapes or (tensor.dim() and tensor.shape != shapes[index]):
            raise DamagedFile(f"tensor 'optimizer.{key}' is of no parameter of shape {tuple(tensor.shape)}")


def flat_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's per-parameter tensors as `optimizer.<parameter index>.<name>`."""
    return {
        f"optimizer.{index}.{name}": value if torch.is_tensor(value) else torch.tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }


def restore_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `flat_optimizer_state` gave; groups and rates stay the optimizer's own.

    What has a weight's shape gets its memory format too: kernels that take many weights at once ask for it.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors_under("optimizer.", tensors).items():
        index, name = key.split(".", 1)
        if tensor.dim() and (weight := weights[int(index)]).dim() == tensor.dim():
            tensor = torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
