"""Optimizers and the learning rate as a pure function of the step."""

from __future__ import annotations

import math

import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from scaling.study import TrainingSpec


def build_optimizer(model: nn.Module, spec: TrainingSpec, objective: nn.Module | None = None) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW; biases, norms and the family's own exceptions are not decayed.

    What an `objective` trains beside the model (projection heads) follows in groups of its own.
    """
    exempt: set[str] = getattr(model, "no_weight_decay", set)()  # timm's transformers name theirs
    groups = param_groups_weight_decay(model, spec.weight_decay, no_weight_decay_list=exempt)
    if objective is not None and any(p.requires_grad for p in objective.parameters()):
        groups += param_groups_weight_decay(objective, spec.weight_decay)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    return torch.optim.AdamW(groups, lr=spec.lr)


def learning_rate(spec: TrainingSpec, step: int, steps_per_epoch: int) -> float:
    """The rate of optimizer step `step` (from 0).

    Warm-up: lr . (step + 1) / W over W = warmup_epochs . steps_per_epoch steps; then constant, or
    min_lr + (lr - min_lr) . (1 + cos(pi . t)) / 2 with t from 0 to 1 over the remaining steps.
    """
    warmup = spec.warmup_epochs * steps_per_epoch
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    if spec.schedule == "constant":
        return spec.lr
    done = (step - warmup) / max(1, spec.epochs * steps_per_epoch - warmup)
    return spec.min_lr + (spec.lr - spec.min_lr) * (1 + math.cos(math.pi * done)) / 2
