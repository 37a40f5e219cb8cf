"""What workers exchange within a step: sums with gradients, the rows of all images, averaged gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import distributed

from scaling.train.batch import Batch


def world_size() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _AllReduceSum(torch.autograd.Function):
    """y = sum over workers of x. The loss is the sum of all workers' losses, so dL/dx = sum over workers of dL/dy."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return all_reduce_sum(gradients[0])


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """The sum over workers, differentiable any number of times; every worker must call it, in the same order."""
    return values if world_size() == 1 else _AllReduceSum.apply(values)


def gather_rows(rows: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """(n, ...) rows of all workers, with gradients: row index[i] is this worker's rows[i].

    The sum over workers of what is zero but for the own rows: exact, and shares of any size need no padding.

    Args:
        index: (m,) where this worker's rows belong; the workers' indices are a partition of range(n).
    """
    return all_reduce_sum(rows.new_zeros(n, *rows.shape[1:]).index_copy(0, index, rows))


def share_index(batch: Batch) -> torch.Tensor:
    """(n,) places of the share's images in the global batch.

    Raises:
        ValueError: the share is a part of the batch and no other worker holds the rest.
    """
    n, whole = len(batch.images), batch.n_global
    if n < whole and world_size() == 1:
        raise ValueError(
            f"{n} of a batch's {whole} images are here and no other worker has the rest, for a loss that compares all "
            "of them; give whole batches (no resources.micro_batch below a worker's share)"
        )
    if isinstance(batch.share, slice):
        return torch.arange(whole, device=batch.images.device)[batch.share]
    return torch.from_numpy(np.arange(whole)[batch.share]).to(batch.images.device)


@torch.no_grad()
def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace .grad by its mean over workers, in one exchange, as DistributedDataParallel does for its own module.

    For what an objective trains beside the model. Parameters without a gradient are left out; every worker must have
    the same ones.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients]).div_(world_size())
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
