"""Optimizers, and the learning rate and weight decay as pure functions of the step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from timm.optim import Lars, param_groups_weight_decay
from torch import nn

from scaling.models.mup.ratios import width_ratios
from scaling.specs.horizon import cooldown_start, warmup_steps
from scaling.specs.training import TrainingSpec

LARS_TRUST = 1e-3  # eta of You et al. 2017, as in SimCLR's code


def build_optimizer(model: nn.Module, spec: TrainingSpec, objective: nn.Module | None = None) -> torch.optim.Optimizer:
    """SGD with momentum, AdamW or LARS; biases, norms and the family's own exceptions are not decayed.

    In the parametrization mup each group has a `rate_factor`, see `scaling.models.mup`.
    What an `objective` trains beside the model (projection heads) follows in groups of its own.

    LARS: v <- m v + t (g + wd . w), w <- w - lr . v, t = 1e-3 |w| / (|g| + wd |w|) for a decayed weight, else t = 1.
    Source: You et al. (2017), eq. 6, without adaptation of biases and norms as in SimCLR; timm's Lars. Deviations from
    SimCLR's code: the rate stands outside the momentum, and |g| + wd |w| in place of |g + wd w|.
    """
    exempt: set[str] = getattr(model, "no_weight_decay", set)()  # timm's transformers name theirs
    groups = _groups(model, spec, exempt)
    if objective is not None and any(p.requires_grad for p in objective.parameters()):
        groups += _groups(objective, spec, set())
    optimizer = _optimizer(groups, spec, next(model.parameters()).is_cuda)
    set_rates(optimizer, spec.lr, spec.weight_decay)
    return optimizer


def _optimizer(groups: list[dict[str, Any]], spec: TrainingSpec, on_gpu: bool) -> torch.optim.Optimizer:
    """On a GPU in kernels that take a rate which lies there, and many weights at once; on a CPU as torch's defaults."""
    at_once = True if on_gpu else None
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, fused=at_once)
    if spec.optimizer == "lars":
        return Lars(groups, lr=spec.lr, momentum=spec.momentum, trust_coeff=LARS_TRUST, foreach=at_once)
    adamw = torch.optim.AdamW(groups, lr=spec.lr, fused=at_once, capturable=on_gpu)
    adamw._warned_capturable_if_run_uncaptured = True  # the first steps always do
    return adamw


def _groups(module: nn.Module, spec: TrainingSpec, exempt: set[str]) -> list[dict[str, Any]]:
    """timm's two groups, marked by whether they decay, also where the decay begins at 0.

    LARS adapts the group that decays; without any decay ever the other optimizers have one group.
    """
    if not spec.weight_decay and not spec.weight_decay_end and spec.optimizer != "lars":
        return _by_factor(param_groups_weight_decay(module, 0.0), module, spec.optimizer)
    groups = param_groups_weight_decay(module, spec.weight_decay or 1.0, no_weight_decay_list=exempt)
    for group in groups:
        group["decays"] = group["weight_decay"] > 0
        group["weight_decay"] = spec.weight_decay if group["decays"] else 0.0
        if spec.optimizer == "lars":
            group["always_adapt"] = group["decays"]
    return _by_factor(groups, module, spec.optimizer)


def _by_factor(groups: list[dict[str, Any]], module: nn.Module, optimizer: str) -> list[dict[str, Any]]:
    """Each group in one for every factor of its rates, in the order of the parameters; without mup as it is."""
    ratios = width_ratios(module)
    factors = {id(p): ratios[name].rate(optimizer) for name, p in module.named_parameters() if name in ratios}
    parts = []
    for group in groups:
        members: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            members.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
        parts += [group | {"params": own, "rate_factor": factor} for factor, own in members.items()]
    return parts


def set_rates(optimizer: torch.optim.Optimizer, lr: float | torch.Tensor, decay: float) -> None:
    """The step's learning rate for all groups, and its weight decay for those that decay, times their factor of mup.

    Rate x decay does not depend on the factor.

    Args:
        lr: a tensor of no dimension where a captured step reads it from the device. A GPU's kernels take the same
            number, a float32, wherever it comes from.
    """
    for group in optimizer.param_groups:
        factor = group.get("rate_factor", 1.0)
        rate = lr * factor
        group["lr"] = _on_gpu(rate, group) if group["params"][0].is_cuda else rate
        if group.get("decays", False):
            group["weight_decay"] = decay / factor


def _on_gpu(rate: float | torch.Tensor, group: dict[str, Any]) -> float | torch.Tensor:
    """LARS rounds otherwise with a rate from the host; fused kernels do not."""
    if isinstance(rate, torch.Tensor):
        return rate.float()
    if group.get("fused"):
        return float(np.float32(rate))
    return torch.full((), rate, device=group["params"][0].device)


@torch.no_grad()
def decay_weights(optimizer: torch.optim.Optimizer, lr: float | torch.Tensor, decay: float | torch.Tensor) -> None:
    """AdamW's decoupled decay, w <- (1 - lr . wd) w, before its step: on a GPU, whose kernels take no wd from there.

    Source: Loshchilov & Hutter (2019), as torch's AdamW.
    """
    for group in optimizer.param_groups:
        if group.get("decays", False):
            factor = group.get("rate_factor", 1.0)
            kept = 1 - lr * factor * (decay / factor)
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(kept)


def learning_rate(spec: TrainingSpec, step: int, steps_per_epoch: int) -> float:
    """The rate of optimizer step `step` (from 0).

    Warm-up: lr . (step + 1) / W over W steps (`horizon.warmup_steps`); then, with t from 0 to 1 over the remaining
    steps, constant, min_lr + (lr - min_lr) . (1 + cos(pi . t)) / 2, or lr + (min_lr - lr) . t; or, for wsd, constant
    and then, with t from 0 to 1 over the cooldown, min_lr + (lr - min_lr) . (1 - sqrt(t)), or the line.

    Source: the cooldown by 1 - sqrt(t): Hägele et al. (2024), eq. 1.
    """
    warmup = warmup_steps(spec, steps_per_epoch)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    if spec.schedule == "constant":
        return spec.lr
    if spec.schedule == "wsd":
        begin = cooldown_start(spec, steps_per_epoch)
        done = max(0, step - begin) / (spec.epochs * steps_per_epoch - begin)
        return spec.min_lr + (spec.lr - spec.min_lr) * (1 - (math.sqrt(done) if spec.cooldown == "sqrt" else done))
    done = (step - warmup) / max(1, spec.epochs * steps_per_epoch - warmup)
    if spec.schedule == "linear":
        return spec.lr + (spec.min_lr - spec.lr) * done
    return spec.min_lr + (spec.lr - spec.min_lr) * (1 + math.cos(math.pi * done)) / 2


def weight_decay(spec: TrainingSpec, step: int, steps_per_epoch: int) -> float:
    """The weight decay of optimizer step `step`: constant, or along half a cosine to weight_decay_end.

    end + (wd - end) . (1 + cos(pi . step / total)) / 2, without warm-up.

    Source: Caron et al. (2021), main_dino.py.
    """
    if spec.weight_decay_end is None:
        return spec.weight_decay
    done = step / max(1, spec.epochs * steps_per_epoch)
    end = spec.weight_decay_end
    return end + (spec.weight_decay - end) * (1 + math.cos(math.pi * done)) / 2
