"""Rates against torch's schedulers, and which weights decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from scaling.models import build_model
from scaling.study import ModelSpec, TrainingSpec
from scaling.train.optim import build_optimizer, learning_rate

STEPS = 7  # an epoch


def torch_rates(spec: TrainingSpec) -> list[float]:
    """LinearLR up from lr / W over the warm-up's W steps, then CosineAnnealingLR or ConstantLR, step by step."""
    warmup, total = spec.warmup_epochs * STEPS, spec.epochs * STEPS
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=spec.lr)
    if spec.schedule == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=spec.min_lr)
    else:
        main = lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    scheduler = main
    if warmup:
        linear = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        scheduler = lr_scheduler.SequentialLR(optimizer, [linear, main], milestones=[warmup])
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
@pytest.mark.parametrize("min_lr", [0.0, 0.02])
def test_rates_are_those_of_torchs_schedulers(schedule, warmup_epochs, min_lr):
    spec = TrainingSpec(epochs=5, lr=0.3, schedule=schedule, warmup_epochs=warmup_epochs, min_lr=min_lr)
    rates = [learning_rate(spec, step, STEPS) for step in range(5 * STEPS)]
    assert rates == pytest.approx(torch_rates(spec), rel=1e-9)


def test_the_peak_follows_the_warmup_and_the_end_nears_the_minimum():
    spec = TrainingSpec(epochs=10, lr=1.0, warmup_epochs=2, min_lr=0.1)
    assert [learning_rate(spec, step, 2) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert learning_rate(spec, 4 + 8, 2) == pytest.approx(0.55), "half way between peak and minimum"
    assert learning_rate(spec, 20, 2) == pytest.approx(0.1), "where a next step would begin"


@pytest.mark.parametrize(
    ("model_spec", "decayed"),
    [
        (ModelSpec(family="resnet", size=4, depth=10), lambda name, p: p.ndim in (2, 4)),
        (
            ModelSpec(family="vit", size=6, depth=2, heads=3),
            lambda name, p: name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight", "head.weight")),
        ),
    ],
    ids=["resnet", "vit"],
)
@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_only_weight_matrices_and_kernels_decay(model_spec, decayed, optimizer, kind):
    """Not biases, norms, class tokens or position embeddings (Touvron et al. 2021)."""
    model = build_model(model_spec, 8, 5)
    spec = TrainingSpec(optimizer=optimizer, lr=0.02, weight_decay=0.3, momentum=0.7)
    built = build_optimizer(model, spec)
    assert type(built) is kind
    decay = {id(p): group["weight_decay"] for group in built.param_groups for p in group["params"]}
    expected = {id(p): 0.3 if decayed(name, p) else 0.0 for name, p in model.named_parameters()}
    assert decay == expected
    assert {group["lr"] for group in built.param_groups} == {0.02}
    if optimizer == "sgd":
        assert {group["momentum"] for group in built.param_groups} == {0.7}
