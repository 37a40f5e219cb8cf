"""What memory a run's step needs, and what is said when there was too little."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scaling.models.cost import training_memory
from scaling.specs.horizon import steps_per_epoch
from scaling.specs.objective import objective_spec

if TYPE_CHECKING:
    from scaling.specs.run import RunSpec

GIB = 2**30
CPU_MESSAGES = ("can't allocate memory", "not enough memory", "cannot allocate memory")  # in RuntimeErrors


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or in the process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in CPU_MESSAGES)


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
