"""Rates against torch's schedulers, and which weights decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.optim import Lars
from torch import nn
from torch.optim import lr_scheduler

from scaling.models import build_model
from scaling.specs.horizon import cooldown_start
from scaling.specs.model import ModelSpec
from scaling.specs.training import TrainingSpec
from scaling.train.optim import build_optimizer, learning_rate, set_rates, weight_decay

STEPS = 7  # an epoch


def torch_rates(spec: TrainingSpec) -> list[float]:
    """LinearLR up from lr / W over the warm-up's W steps, then the schedule's own, step by step."""
    warmup, total = spec.warmup_epochs * STEPS, spec.epochs * STEPS
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=spec.lr)
    if spec.schedule == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=spec.min_lr)
    elif spec.schedule == "linear":
        main = lr_scheduler.LinearLR(optimizer, 1.0, spec.min_lr / spec.lr, total_iters=total - warmup)
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
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
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


@pytest.mark.parametrize("cooldown", ["sqrt", "linear"])
@pytest.mark.parametrize(
    ("fields", "warmup", "length"),
    [
        ({}, 0, 7),
        ({"warmup_epochs": 1, "cooldown_share": 0.5}, 7, 18),
        ({"warmup_share": 0.1, "cooldown_epochs": 2}, 4, 14),
        ({"warmup_steps": 3, "cooldown_share": 0.001}, 3, 1),
        ({"cooldown_share": 1}, 0, 35),
    ],
)
def test_wsd_is_constant_and_then_cools_down(cooldown, fields, warmup, length):
    """Hägele et al. 2024: 1 - sqrt((n - (N - N_decay)) / N_decay) from step N - N_decay on."""
    spec = TrainingSpec(epochs=5, lr=0.3, schedule="wsd", min_lr=0.02, cooldown=cooldown, **fields)
    steps = 5 * STEPS
    up = [0.3 * (step + 1) / warmup for step in range(warmup)]
    t = np.arange(length) / length
    down = 0.02 + 0.28 * (1 - (np.sqrt(t) if cooldown == "sqrt" else t))
    flat = [0.3] * (steps - warmup - length)
    rates = [learning_rate(spec, step, STEPS) for step in range(steps + 1)]
    assert rates == pytest.approx([*up, *flat, *down, 0.02])


def test_before_the_cooldown_no_rate_depends_on_the_horizon():
    short, long = (TrainingSpec(epochs=e, schedule="wsd", warmup_epochs=0.5, min_lr=0.01) for e in (2, 9))
    before = cooldown_start(short, STEPS)
    assert before == 11
    assert [learning_rate(short, s, STEPS) for s in range(before)] == [
        learning_rate(long, s, STEPS) for s in range(before)
    ]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
def test_a_warmup_in_shares_or_steps_is_that_in_epochs(schedule):
    specs = [
        TrainingSpec(epochs=10, schedule=schedule, **fields)
        for fields in ({"warmup_epochs": 2}, {"warmup_share": 0.2}, {"warmup_steps": 2 * STEPS})
    ]
    first, *others = [[learning_rate(spec, step, STEPS) for step in range(10 * STEPS)] for spec in specs]
    assert others == [first, first]


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
@pytest.mark.parametrize(
    ("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW), ("lars", Lars)]
)
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
    if optimizer != "adamw":
        assert {group["momentum"] for group in built.param_groups} == {0.7}


@pytest.mark.parametrize("decay", [0.0, 1e-6, 0.1])
def test_lars_is_its_formula(decay):
    """You et al. 2017: v <- m v + t (g + wd w), w <- w - lr v, t = 1e-3 |w| / (|g| + wd |w|); biases are plain SGD."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    spec = TrainingSpec(optimizer="lars", lr=1.7, momentum=0.9, weight_decay=decay)
    optimizer = build_optimizer(model, spec)
    weights = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    speed = {name: torch.zeros_like(value) for name, value in weights.items()}
    for step in range(4):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        lr = 1.7 / (step + 1)
        set_rates(optimizer, lr, decay)
        for name, p in model.named_parameters():
            w, g = weights[name], p.grad.double()
            if name == "weight":
                trust = 1e-3 * w.norm() / (g.norm() + decay * w.norm())
                g = trust * (g + decay * w)
            speed[name] = 0.9 * speed[name] + g
            weights[name] = w - lr * speed[name]
        optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach().double(), weights[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("end", [0.4, 0.0])
def test_weight_decay_follows_half_a_cosine(end):
    """As DINO's cosine_scheduler without warm-up, step by step of 3 epochs."""
    spec = TrainingSpec(epochs=3, weight_decay=0.04, weight_decay_end=end)
    found = [weight_decay(spec, step, STEPS) for step in range(3 * STEPS)]
    steps = np.arange(3 * STEPS)
    assert found == pytest.approx(end + 0.5 * (0.04 - end) * (1 + np.cos(np.pi * steps / len(steps))))
    assert found[0] == pytest.approx(0.04)


def test_weight_decay_is_constant_without_an_end():
    assert {weight_decay(TrainingSpec(weight_decay=0.3), step, STEPS) for step in range(20)} == {0.3}


@pytest.mark.parametrize(("decay", "end"), [(0.04, 0.4), (0.0, 0.4), (0.04, None), (0.0, None)])
def test_rates_reach_all_groups_and_decay_those_that_decay(decay, end):
    """Also a decay that begins at 0; a head beside the model alike."""
    model, head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    spec = TrainingSpec(optimizer="adamw", weight_decay=decay, weight_decay_end=end)
    optimizer = build_optimizer(model, spec, head)
    now = weight_decay(spec, STEPS, STEPS)
    set_rates(optimizer, 0.123, now)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for module in (model, head):
        for p in module.parameters():
            assert found[id(p)]["lr"] == 0.123
            assert found[id(p)]["weight_decay"] == (now if p.ndim == 2 else 0.0)
