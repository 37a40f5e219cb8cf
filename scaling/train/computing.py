"""How a step is computed: torch's settings, and what cannot be computed as asked."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from scaling.errors import StudyError
from scaling.specs.objective import objective_spec
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.train.dropping import draws_randomly

# torch's global generators, and the flags that `set_up_torch` sets, are the process's: whoever seeds them to draw holds
# this until the last number is drawn, so that runs beside each other (`lanes`) draw what each would draw alone.
RANDOM = threading.RLock()
TF32 = True  # tests that compare with a CPU switch it off
NHWC_CHANNELS = 8  # NVIDIA's tensor cores take channels in eights (Deep Learning Performance Guide, convolutions)
# FLOP of a training from which compiling it pays: 15 minutes at the 1.1e14 FLOP/s that a ResNet-50 (224 px, bfloat16)
# reaches on an H200. Measured there: compiled steps of ViT-S take 9 % less time and of ResNet-50 27 %, 80 s of 15
# minutes at least; compiling takes about a minute (assumption), once a shape and node: torch keeps it on disk.
COMPILE_FROM = 1e17
NARROW_CHANNELS = 8  # torch 2.14 on an x86 CPU: 2 and 4 channels crash in the backward pass, 8 do not


@dataclass(frozen=True)
class Computing:
    """How a run's steps are computed on its device.

    captured: "yes", or why its steps are no CUDA graphs. images: where they lie: "device", or "host" and why.
    fused: many weights a kernel in the optimizer. tf32: in matrix products (cuDNN's convolutions have it by default).
    benchmark: cuDNN tries its algorithms out.
    """

    device: str
    captured: str
    images: str
    compiled: bool
    channels_last: bool
    fused: bool
    tf32: bool
    benchmark: bool

    def text(self) -> str:
        return json.dumps(vars(self))


def choose_resources(run: RunSpec, model: nn.Module, device: torch.device, flops: float) -> ResourceSpec:
    """The run's resources with `channels_last` and `compile` decided, where they are 'auto'.

    Args:
        flops: of the whole training, C.
    """
    resources = run.resources
    free = device.type == "cuda" and not resources.deterministic
    last, compiled = resources.channels_last, resources.compile
    if last == "auto":
        last = free and run.training.precision == "bfloat16" and is_convolutional(model)
    if compiled == "auto":
        drops = run.training.drop_path > 0 or any(draws_randomly(module) for module in model.modules())
        compiled = free and flops >= COMPILE_FROM and not drops and _compiles(run)
    return resources.model_copy(update={"channels_last": last, "compile": compiled})


def is_convolutional(model: nn.Module) -> bool:
    """Are most of its weights convolutions', of channels that tensor cores take in their own layout?"""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    fit = sum(module.weight.numel() for module in convolutions if module.in_channels % NHWC_CHANNELS == 0)
    return fit > sum(weight.numel() for weight in model.parameters()) / 2


def set_up_torch(run: RunSpec, threads: int, device: torch.device) -> None:
    """Threads (of the calling thread), determinism and the seed that the weights are drawn from, under `RANDOM`.

    The process may have trained another run.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with which cuBLAS repeats itself
    torch.use_deterministic_algorithms(run.resources.deterministic)
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = TF32 and not run.resources.deterministic
        torch.backends.cudnn.benchmark = not run.resources.deterministic
    torch.manual_seed(run.seed)


def _compiles(run: RunSpec) -> bool:
    options = objective_spec(run.objective)
    return not (options.own_views or options.differentiates_twice)


def check_computing(run: RunSpec, where: str) -> None:
    """Refuse to compile what torch cannot: losses that hook into the model or differentiate it twice.

    Raises:
        StudyError: naming the setting and the remedy.
    """
    if run.resources.compile is True and not _compiles(run):
        name = objective_spec(run.objective).name
        raise StudyError(
            f"resources.compile=true and objective '{name}' do not go together: its loss reads inner layers or "
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
