"""How a step is computed: torch's settings, and what cannot be computed as asked."""

from __future__ import annotations

import os
import threading

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from scaling.errors import StudyError
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec

# torch's global generators, and the flags that `set_up_torch` sets, are the process's: whoever seeds them to draw holds
# this until the last number is drawn, so that runs beside each other (`lanes`) draw what each would draw alone.
RANDOM = threading.RLock()
NARROW_CHANNELS = 8  # torch 2.14 on an x86 CPU: 2 and 4 channels crash in the backward pass, 8 do not


def set_up_torch(run: RunSpec, threads: int) -> None:
    """Threads (of the calling thread), determinism and the seed that the weights are drawn from, under `RANDOM`.

    The process may have trained another run.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with which cuBLAS repeats itself
    torch.use_deterministic_algorithms(run.resources.deterministic)
    torch.set_num_threads(threads)
    torch.manual_seed(run.seed)


def check_computing(run: RunSpec, where: str) -> None:
    """Refuse to compile what torch cannot: losses that hook into the model or differentiate it twice.

    Raises:
        StudyError: naming the setting and the remedy.
    """
    options = objective_spec(run.objective)
    if run.resources.compile and (options.own_views or options.differentiates_twice):
        raise StudyError(
            f"resources.compile=true and objective '{options.name}' do not go together: its loss reads inner layers or "
            f"differentiates the model twice, which torch.compile does not support ({where}); set it to false"
        )


def check_norms(run: RunSpec, world: int, *modules: nn.Module) -> None:
    """Refuse batch norms that see other groups of images than the run's id says.

    Args:
        world: workers that there are. modules: the model, and the objective.

    Raises:
        StudyError: the run's spec leaves out that there is batch norm, or is for another number of workers.
    """
    if not any(isinstance(module, _BatchNorm) for given in modules for module in given.modules()):
        return
    resources = run.resources.model_copy(update={"workers": world})
    groups = resources.norm_groups(run.training.batch_size, run.training.sync_batch_norm)
    if groups != run.norm_groups():
        raise StudyError(
            f"batch norm of {run.label()} would take its statistics of {groups or 'whole batches'}, and the run's id "
            f"says {run.norm_groups() or 'whole batches'} (micro_batch={run.resources.micro_batch}, {world} workers); "
            "take the run from its study, and train it on resources.workers workers"
        )


def check_channels_last(model: nn.Module, device: torch.device, label: str) -> None:
    """Refuse channels-last convolutions whose backward pass oneDNN computes out of bounds on CPUs.

    Raises:
        StudyError: naming the layer.
    """
    if device.type != "cpu":
        return
    for name, module in model.named_modules():
        strided = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1)
        if strided and module.in_channels < NARROW_CHANNELS:
            raise StudyError(
                f"resources.channels_last=true on a CPU and a strided 1 x 1 convolution of {module.in_channels} "
                f"channels ('{name}' of {label}): below {NARROW_CHANNELS}, its backward pass there damages memory; "
                "set resources.channels_last to false"
            )
