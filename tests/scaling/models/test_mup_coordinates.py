"""Coordinate checks: after steps of training, activations are as large at any width under mup, and not under standard.

Yang et al. 2021, appendix D: the log-log slope of a layer's mean |x| against width, over 16 x. Of the logits, which
begin smaller in wider networks, it is that of what the steps changed.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from scaling.models import build_model, candidate_layers
from scaling.specs.model import ModelSpec
from scaling.specs.training import TrainingSpec
from scaling.train.optim import build_optimizer

SIDE, IMAGES, CLASSES = 8, 16, 10
GROWTH = (1, 4, 16)
STEPS = (1, 2, 5)
FLAT, STEEP = 0.2, 0.35  # of the slope: at most, of every layer; at least, of one
CASES = {
    "resnet": ({"depth": 10}, 4),
    "convnext": ({"depth": 4}, 4),
    "vit": ({"depth": 2, "heads": 3}, 12),
    "deit3": ({"depth": 2, "heads": 3}, 12),
    "efficientnet": ({"depth": 7}, 10),
    "alexnet": ({}, 2),
    "cornet_s": ({}, 2),
}
RATES = {"sgd": 0.1, "adamw": 0.004}


@cache  # at the base both parametrizations are one
def sizes_after(spec: ModelSpec, optimizer: str, seed: int) -> dict[tuple[int, str], float]:
    """Mean |x| of each layer after each of STEPS on one batch, and of the change of the logits."""
    torch.manual_seed(seed)
    model = build_model(spec, SIDE, CLASSES).train()
    random = torch.Generator().manual_seed(100 + seed)
    images = torch.randn(IMAGES, 3, SIDE, SIDE, generator=random)
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=random)
    trained = build_optimizer(model, TrainingSpec(optimizer=optimizer, lr=RATES[optimizer], weight_decay=1e-4))
    seen: dict[str, float] = {}
    for layer in candidate_layers(spec, model):
        model.get_submodule(layer).register_forward_hook(partial(note, seen, layer))
    found, logits = {}, []
    for step in range(STEPS[-1] + 1):
        torch.manual_seed(7)  # the same units are dropped
        logits.append(model(images))
        change = float((logits[-1] - logits[0]).detach().abs().mean())
        if step in STEPS:
            found |= {(step, layer): size for layer, size in {**seen, "logits": change}.items()}
        trained.zero_grad()
        cross_entropy(logits[-1], labels).backward()
        trained.step()
    return found


def note(seen: dict[str, float], layer: str, module: nn.Module, given: object, output: torch.Tensor) -> None:
    seen[layer] = float(output.detach().abs().mean())


def slopes(family: str, rule: str, optimizer: str) -> dict[tuple[int, str], float]:
    """Of each layer after each number of steps; the standard parametrization is measured at both ends alone."""
    fields, base = CASES[family]
    growths, rows = GROWTH if rule == "mup" else GROWTH[::2], []
    for growth in growths:
        own = {"parametrization": "mup", "base_size": base} if rule == "mup" and growth > 1 else {}
        spec = ModelSpec(family=family, size=base * growth, **fields, **own)
        seeds = range(max(1, 4 // growth))  # narrow networks scatter most, and cost least
        drawn = [sizes_after(spec, optimizer, seed) for seed in seeds]
        rows.append({key: np.mean([one[key] for one in drawn]) for key in drawn[0]})
    return {key: float(np.polyfit(np.log(growths), np.log([row[key] for row in rows]), 1)[0]) for key in rows[0]}


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("family", CASES)
def test_activations_do_not_depend_on_width_under_mup_and_do_under_standard(family, optimizer):
    mup, standard = (slopes(family, rule, optimizer) for rule in ("mup", "standard"))
    for (step, layer), slope in mup.items():
        if layer == "logits" and step < STEPS[-1]:
            continue  # the first steps change them by as much as they began with, width^-1/2
        assert abs(slope) < FLAT, f"{layer} after {step} steps"
    assert max(abs(slope) for slope in standard.values()) > STEEP
