"""What memory a run's step needs, what is said when there was too little, and how it is given back between runs."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from typing import TYPE_CHECKING

import torch

from scaling.models.cost import training_memory
from scaling.specs.horizon import steps_per_epoch
from scaling.specs.objective import objective_spec

if TYPE_CHECKING:
    from scaling.specs.run import RunSpec

GIB = 2**30


def largest_batch(run: RunSpec, n_samples: int) -> int:
    """Images of the largest global batch; those of an epoch differ by one at most."""
    return math.ceil(n_samples / steps_per_epoch(n_samples, run.training.for_samples(n_samples).batch_size))


def images_at_once(run: RunSpec, n_samples: int) -> int:
    """Images, views counted, of a worker's largest pass: its share of a batch, or a micro-batch of it."""
    share = math.ceil(largest_batch(run, n_samples) / run.resources.workers)
    if run.resources.micro_batch is not None:
        share = math.ceil(share / math.ceil(share / run.resources.micro_batch))
    return share * objective_spec(run.objective).views


def step_memory(run: RunSpec, image_size: int, n_classes: int, n_samples: int) -> int:
    """Bytes that a step needs on one worker, see `compute.training_memory`."""
    images = images_at_once(run, n_samples)
    return training_memory(run.model, image_size, n_classes, images, run.training.optimizer)


def out_of_memory_reason(run: RunSpec, n_samples: int, estimate: int, error: BaseException) -> str:
    """The estimate, what the allocator said and the remedy, on one line."""
    images = images_at_once(run, n_samples)
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return (
        f"out of memory: a step of {images:,} images on a worker needs about {estimate / GIB:.2f} GiB for weights, "
        f"gradients, optimizer and activations ({said}); set resources.micro_batch below {images:,}, add workers, or "
        "lower training.batch_size"
    )


def release_memory() -> None:
    """Give back what a run that has ended held, in a process that goes on to another: call it between runs.

    Whoever held the run's generator, its exceptions or its tracebacks lets go of them first. What is in reference
    cycles is collected, compiled code is dropped (else later models would meet torch's limit of recompilations), and
    the GPU's and the C library's free blocks go back to the device and the system, for the other processes there.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    _trim_heap()


def _trim_heap() -> None:
    """glibc keeps freed memory for itself; other C libraries have no such function."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
