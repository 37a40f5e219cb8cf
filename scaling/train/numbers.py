"""The numbers of a step: rate, decay and the average's weight, as floats, or as tensors that a captured step reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scaling.specs.horizon import average_decay
from scaling.specs.training import TrainingSpec
from scaling.train.optim import learning_rate, weight_decay
from scaling.train.tables import Column, Tables

Number = float | torch.Tensor
NAMES = ("lr", "weight_decay", "average")


@dataclass(frozen=True)
class Numbers:
    """lr and weight_decay, see `optim`; average: the decay of the weights' average, where there is one."""

    lr: Number
    weight_decay: Number
    average: Number


def step_numbers(spec: TrainingSpec, step: int, steps: int) -> Numbers:
    """Of optimizer step `step` (from 0), of `steps` an epoch."""
    average = average_decay(spec, step, steps) if spec.averages else 0.0
    return Numbers(learning_rate(spec, step, steps), weight_decay(spec, step, steps), average)


def number_columns() -> dict[str, Column]:
    return dict.fromkeys(NAMES, Column((), torch.float64))


def read_numbers(tables: Tables, spec: TrainingSpec) -> Numbers:
    """The next step's numbers; a decay that never changes stays the number that it is, as fused optimizers have it."""
    lr, decay, average = (tables.row(name) for name in NAMES)
    return Numbers(lr, spec.weight_decay if spec.weight_decay_end is None else decay, average)
