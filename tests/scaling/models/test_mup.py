"""mup against its formulas, against the standard parametrization at the base, and what is refused."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from scaling.errors import StudyError
from scaling.models import build_model
from scaling.models.mup import DRAWN, Drawn
from scaling.models.mup.parametrize import OutputLinear, parametrize
from scaling.models.mup.ratios import compare, width_ratios
from scaling.models.sizes import resolve_model
from scaling.specs.model import FamilySpec, ModelSpec
from scaling.specs.training import TrainingSpec
from scaling.study import parse_study
from scaling.train.optim import build_optimizer, set_rates

SIDE, CLASSES = 8, 10
# Fields beside the width, the base, and four times of it
FAMILIES = {
    "resnet": ({"depth": 10}, 4),
    "convnext": ({"depth": 4}, 4),
    "vit": ({"depth": 2, "heads": 3}, 12),
    "deit3": ({"depth": 2, "heads": 3}, 12),
    "efficientnet": ({"depth": 7}, 50),
    "alexnet": ({}, 2),
    "cornet_s": ({}, 2),
}


def spec_of(family: str, times: int = 1, rule: str = "mup") -> ModelSpec:
    fields, base = FAMILIES[family]
    own = {"parametrization": "mup", "base_size": base} if rule == "mup" else {}
    return ModelSpec(family=family, size=base * times, **fields, **own)


def built(spec: ModelSpec, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(spec, SIDE, CLASSES).train()


def train(model: nn.Module, training: TrainingSpec, steps: int = 3) -> nn.Module:
    optimizer = build_optimizer(model, training)
    random = torch.Generator().manual_seed(1)
    for step in range(steps):
        images = torch.randn(8, 3, SIDE, SIDE, generator=random)
        labels = torch.randint(0, CLASSES, (8,), generator=random)
        set_rates(optimizer, training.lr / (step + 1), training.weight_decay)
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_base_both_parametrizations_are_one_bit_for_bit(family, optimizer):
    training = TrainingSpec(optimizer=optimizer, lr=0.01, weight_decay=0.05)
    ours, plain = (train(built(spec_of(family, rule=rule)), training) for rule in ("mup", "standard"))
    found, wanted = ours.state_dict(), plain.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_draw_the_same_numbers_and_name_the_same_tensors_at_any_width(family):
    states = []
    for rule in ("mup", "standard"):
        model = built(spec_of(family, 2, rule))
        states.append((torch.get_rng_state().tolist(), {k: v.shape for k, v in model.state_dict().items()}))
    assert states[0] == states[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_values_follow_the_base_as_the_table_says(family):
    """Hidden weights shrink by r_in^-1/2; all others, and random biases, have the base's own std. Within 5 sigma."""
    wide, base = ([built(spec_of(family, n), seed) for seed in range(8 // n)] for n in (4, 1))
    ratios = compare(wide[0], base[0])
    for name, parameter in base[0].named_parameters():
        drawn = [torch.cat([dict(m.named_parameters())[name].detach().flatten() for m in ms]) for ms in (wide, base)]
        if len(parameter.unique()) == 1:
            assert torch.equal(drawn[0].unique(), drawn[1].unique()), name
            continue
        wanted = 1.0 if ratios[name].out == 1 else ratios[name].into ** -0.5
        error = 5 * math.hypot(*(1 / math.sqrt(2 * len(values)) for values in drawn))
        rms = [float(values.square().mean().sqrt()) for values in drawn]
        assert math.log(rms[0] / rms[1] / wanted) == pytest.approx(0, abs=error), name


def package_factors(shape: tuple[int, ...], base: tuple[int, ...], optimizer: str) -> float:
    """The factor of the rate as microsoft/mup's MuSGD and MuAdamW compute it, from its infshape."""
    grown = [n / n_0 for n, n_0 in zip(shape, base, strict=True)]
    infinite = [factor for factor in grown if factor != 1]
    if len(infinite) == 2:  # matrix-like: fan-in over fan-out, or the width multiplier, that of fan-in
        return 1 / (grown[1] / grown[0]) if optimizer == "sgd" else 1 / grown[1]
    if len(infinite) == 1:  # vector-like
        return infinite[0] if optimizer == "sgd" else 1.0
    return 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rates_and_decays_of_every_parameter_are_those_of_the_mup_package(family, optimizer):
    model, base = built(spec_of(family, 4)), built(spec_of(family))
    training = TrainingSpec(optimizer=optimizer, lr=0.3, weight_decay=0.02)
    groups = build_optimizer(model, training).param_groups
    owner = {id(p): group for group in groups for p in group["params"]}
    shapes = {name: parameter.shape for name, parameter in base.named_parameters()}
    assert len(owner) == len(shapes)
    for name, parameter in model.named_parameters():
        factor = package_factors(parameter.shape, shapes[name], optimizer)
        group = owner[id(parameter)]
        assert group["lr"] == pytest.approx(0.3 * factor), name
        assert group["weight_decay"] == pytest.approx(0.02 / factor if group["decays"] else 0), name


def network(width: int) -> nn.Sequential:
    """One layer of each kind: stem, depthwise, grouped (groups grow), grouped (channels grow), hidden, classifier."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3, groups=width), nn.Conv2d(width, width, 1, groups=width // 2),
        nn.Conv2d(width, 2 * width, 1, groups=2), nn.BatchNorm2d(2 * width), nn.Flatten(), nn.ReLU(),
        nn.Linear(2 * width * 16, 3 * width), nn.Linear(3 * width, 5),
    )  # fmt: skip


def test_each_kind_of_layer_has_its_rule():
    base, wide = network(4), network(16)
    drawn = {name: parameter.detach().clone() for name, parameter in wide.named_parameters()}
    parametrize(wide, base.to("meta"), Drawn("fan_in", "fan_in"))
    rates = {name: (ratio.rate("sgd"), ratio.rate("adamw")) for name, ratio in width_ratios(wide).items()}
    vector, hidden = (4.0, 1.0), (1.0, 0.25)
    assert [rates[f"{index}.weight"] for index in (0, 1, 2, 3, 4, 7, 8)] == [
        vector, vector, vector, hidden, vector, hidden, vector,
    ]  # fmt: skip
    assert {name: rate for name, rate in rates.items() if name.endswith("bias") and rate != vector} == {
        "8.bias": (1.0, 1.0)
    }
    scaled = {name: float((p.detach() / drawn[name]).mean()) for name, p in wide.named_parameters() if name[0] != "4"}
    assert {name: pytest.approx(factor) for name, factor in scaled.items() if factor != 1} == {
        "3.bias": 2, "7.bias": 2, "8.weight": 2, "8.bias": 2,
    }  # fmt: skip
    assert isinstance(wide[8], OutputLinear)
    features = torch.randn(2, 48)
    assert torch.allclose(wide[8](features), features @ wide[8].weight.T / 4 + wide[8].bias)


def test_a_parameter_that_grows_twice_and_is_no_weight_is_refused():
    class Odd(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(width, width))

    with pytest.raises(TypeError, match="parameter 'table' of Odd grows along two dimensions"):
        compare(Odd(4), Odd(2))


@pytest.mark.parametrize(("optimizer", "error"), [("sgd", 1e-6), ("adamw", 1e-4)])
def test_training_is_that_of_table_3_which_puts_the_multiplier_into_the_weights(optimizer, error):
    """Yang et al., lemma J.1: W / m with its std by m, its rate by m^2 (SGD) or m (Adam), and lr . decay as it was."""
    m, lr, decay = 4.0, 0.05, 0.1

    def net() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8 * int(m)), nn.Tanh(), nn.Linear(8 * int(m), 3)).double()

    ours, theirs = net(), net()
    base = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to("meta")
    parametrize(ours, base, Drawn("constant", "constant"))
    theirs[2].weight.data /= m
    spec = TrainingSpec(optimizer=optimizer, lr=lr, weight_decay=decay)
    factors = {"0": m, "2": 1 / m} if optimizer == "sgd" else {"0": 1.0, "2": 1 / m}
    groups = [
        {"params": [theirs[int(i)].weight], "lr": lr * f, "weight_decay": decay / f} for i, f in factors.items()
    ] + [
        {"params": [theirs[0].bias], "lr": lr * factors["0"], "weight_decay": 0.0},
        {"params": [theirs[2].bias], "lr": lr, "weight_decay": 0.0},
    ]
    kinds = {"sgd": lambda g: torch.optim.SGD(g, momentum=0.9), "adamw": torch.optim.AdamW}
    optimizers = [build_optimizer(ours, spec), kinds[optimizer](groups)]
    images, labels = torch.randn(16, 6).double(), torch.randint(0, 3, (16,))
    for _ in range(20):
        for model, trained in zip((ours, theirs), optimizers, strict=True):
            trained.zero_grad()
            cross_entropy(model(images), labels).backward()
            trained.step()
    assert torch.allclose(ours(images), theirs(images), atol=error)
    assert not torch.allclose(ours(images), net()(images), atol=0.1), "it has trained"


def test_attention_is_of_q_k_by_d_and_at_the_base_by_the_root():
    model = built(spec_of("vit", 4)).eval()
    attention, width, heads = model.blocks[0].attn, 48, 3
    d, d_0 = width // heads, 12 // heads
    tokens = torch.randn(2, 5, width)
    q, k, v = attention.qkv(tokens).reshape(2, 5, 3, heads, d).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * math.sqrt(d_0) / d).softmax(-1)
    wanted = attention.proj((weights @ v).transpose(1, 2).reshape(2, 5, width))
    assert torch.allclose(attention(tokens), wanted, atol=1e-6)


def test_the_norm_of_all_gradients_does_not_grow_with_width_so_that_clipping_holds():
    def norm(times: int, rule: str) -> float:
        model = train(built(spec_of("vit", times, rule)), TrainingSpec(optimizer="adamw", lr=0.002), steps=4)
        return float(nn.utils.get_total_norm([p.grad for p in model.parameters()]))

    growth = {rule: np.log(norm(16, rule) / norm(1, rule)) / np.log(16) for rule in ("mup", "standard")}
    assert growth["mup"] < 0 < 0.4 < growth["standard"], "as width^1/2, of the classifier"


def test_sizes_of_all_spellings_keep_their_parametrization_and_its_base():
    family = FamilySpec(family="resnet", depth=10, sizes=(16, {"width": 0.5}, {"params": 1e5}), parametrization="mup")
    models = [resolve_model(family, size, 16, "test") for size in family.sizes]
    assert {(m.parametrization, m.base_size) for m in models} == {("mup", 64)}
    assert [m.size for m in models] == [16, 32, 10]
    named = FamilySpec(family="vit", sizes=("small",), parametrization="mup", base_size=192)
    assert resolve_model(named, "small", 32, "test").label() == "vit-12 w384 (small) mup 192"


def test_the_parametrization_enters_an_id_only_where_it_is_not_standard(make_run):
    plain, ours = make_run(), make_run(parametrization="mup")
    assert make_run(parametrization="standard").run_id == plain.run_id
    assert "parametrization" not in plain.model.identity()
    assert ours.model.identity() == plain.model.identity() | {"parametrization": "mup", "base_size": 64}
    own = {"family": "resnet", "depth": 10, "sizes": [2], "parametrization": "standard"}
    assert make_run(parametrization="mup", models=[own]).run_id == plain.run_id


RESNET, VIT = {"family": "resnet", "depth": 10, "sizes": [4]}, {"family": "vit", "sizes": [12], "depth": 2, "heads": 3}
BAD = {
    "no rule": ({"family": "timm", "sizes": ["resnet18"], "parametrization": "mup"}, {}, "family 'timm' has no rule"),
    "no base": (RESNET | {"base_size": 16}, {}, "base_size=16 belongs to parametrization: mup"),
    "odd base": (RESNET | {"base_size": 15}, {"parametrization": "mup"}, "base_size=15 gives no model.*is odd"),
    "heads of the base": (VIT | {"base_size": 16}, {"parametrization": "mup"}, "base_size=16 gives.*multiple of heads"),
    "zero": (RESNET | {"base_size": 0}, {"parametrization": "mup"}, r"base_size=0: .*greater than 0"),
    "unknown": (RESNET | {"parametrization": "ntk"}, {}, r"parametrization='?ntk'?: .*'standard' or 'mup'"),
    "lars": (RESNET, {"parametrization": "mup", "training": {"optimizer": "lars"}}, "optimizer=lars with param.*LARS"),
    "two numbers of heads": (
        {"family": "vit", "sizes": ["tiny", "small"]}, {"parametrization": "mup"}, "has 3 heads and .* 6.*as widths",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_mup_cannot_be_is_refused_with_its_reason(name):
    family, study, reason = BAD[name]
    content = {
        "name": "bad",
        "dataset": {"name": "digits"},
        "models": [family],
        "benchmarks": ["simulated-ventral-stream"],
    }
    with pytest.raises(StudyError, match=reason):
        parse_study(content | study)


@pytest.mark.parametrize(("sizes", "fine"), [([4], True), ([4, 8], False), ([8], False)])
def test_lars_is_taken_at_the_base_where_both_parametrizations_are_one_model(sizes, fine):
    family = RESNET | {"sizes": sizes, "base_size": 4}
    content = {
        "name": "base", "dataset": "digits", "models": [family], "parametrization": "mup",
        "training": {"optimizer": "lars"}, "benchmarks": ["simulated-ventral-stream"],
    }  # fmt: skip
    with nullcontext() if fine else pytest.raises(StudyError, match="optimizer=lars with"):
        parse_study(content)


def test_every_family_with_widths_has_a_rule():
    assert set(DRAWN) == set(FAMILIES)
