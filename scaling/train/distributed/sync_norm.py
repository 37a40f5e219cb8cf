"""Batch norm with the statistics of all workers' images."""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from scaling.train.distributed.gather import gather_rows, world_size


class WorkersBatchNorm(_BatchNorm):
    """nn.BatchNorm1d, 2d and 3d over the images of all workers: same parameters, buffers, and state dict.

    y = (x - m) / sqrt(v + eps) . weight + bias, with m and v (ddof 0) of all images; running statistics take v with
    ddof 1. Worker r's n_r values a channel have mean m_r and variance v_r; of n = sum_r n_r values
    m = sum_r n_r m_r / n and v = sum_r n_r (v_r + (m_r - m)^2) / n (Chan et al. 1979). Differentiable twice, on any
    device. In eval mode, or alone, it is plain batch norm.

    Made by `sync_batch_norm`, which adds `drop` and `act` where the norm had them (timm's BatchNormAct2d).
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm of {input.ndim} dimensions; give (n, channels, ...)")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        alone = world_size() == 1 or not self.training
        output = super().forward(input) if alone else self._normalise(input)
        for name in ("drop", "act"):
            if name in self._modules:
                output = self.get_submodule(name)(output)
        return output

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        self._check_input_dim(images)
        wide = images.to(torch.promote_types(images.dtype, torch.float32))
        mean, variance, n = self._statistics(wide)
        self._follow(mean.detach(), variance.detach() * (n / (n - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = [1, -1] + [1] * (images.ndim - 2)
        return (wide * scale.view(shape) + shift.view(shape)).to(images.dtype)

    def _statistics(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(channels,) mean and variance (ddof 0) of all workers' images, and the number of values a channel."""
        variance, mean = torch.var_mean(images, [0, *range(2, images.ndim)], correction=0)
        count = mean.new_tensor([images.numel() / images.shape[1]])
        own = torch.tensor([torch.distributed.get_rank()], device=images.device)
        counts, means, variances = gather_rows(torch.cat([count, mean, variance])[None], own, world_size()).split(
            [1, len(mean), len(mean)], dim=1
        )
        n = counts.sum()
        parts = counts / n
        mean = (parts * means).sum(0)
        return mean, (parts * (variances + (means - mean).square())).sum(0), n

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """running <- (1 - momentum) running + momentum now; without a momentum, the mean of all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)


def sync_batch_norm(model: nn.Module, twice: bool = False) -> nn.Module:
    """Replace the model's batch norms by synchronised ones where there are several workers; the model itself.

    On CUDA torch.nn.SyncBatchNorm, elsewhere, and where the loss needs second derivatives (`twice`), which torch's has
    not, `WorkersBatchNorm`. Parameters and buffers stay the same objects; a norm used in two places stays one.
    """
    if world_size() == 1:
        return model
    made: dict[nn.Module, nn.Module] = {}
    if isinstance(model, _BatchNorm):
        return _synchronised(model, twice)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, _BatchNorm):
                if child not in made:
                    made[child] = _synchronised(child, twice)
                parent._modules[name] = made[child]
    return model


def _synchronised(norm: _BatchNorm, twice: bool) -> nn.Module:
    if isinstance(norm, WorkersBatchNorm | nn.SyncBatchNorm):
        return norm
    tensor = next((t for t in [*norm.parameters(), *norm.buffers()]), None)
    if tensor is not None and tensor.is_cuda and not twice:
        return convert_sync_batchnorm(norm)
    affine, tracks = norm.affine, norm.track_running_stats
    new = WorkersBatchNorm(norm.num_features, norm.eps, norm.momentum, affine, tracks, device="meta").train(
        norm.training
    )
    for name, parameter in norm._parameters.items():
        new._parameters[name] = parameter
    for name, buffer in norm._buffers.items():
        new._buffers[name] = buffer
    if isinstance(norm, BatchNormAct2d):
        new.drop, new.act = norm.drop, norm.act
    return new
