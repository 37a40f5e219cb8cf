"""Parameters, FLOPs and memory against what torch really does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from scaling.models import build_model, cost
from scaling.models.cost import LEAST_FLOPS, expected_cost, model_cost, training_flops, training_memory
from scaling.specs.model import ModelSpec

RESNET = ModelSpec(family="resnet", size=4, depth=10)
BOTTLENECK = ModelSpec(family="resnet", size=4, depth=50)
VIT = ModelSpec(family="vit", size=12, depth=2, heads=3)
SPECS = pytest.mark.parametrize("spec", [RESNET, BOTTLENECK, VIT], ids=lambda spec: spec.label())


def measured_bytes(spec: ModelSpec, image_size: int, batch: int, optimizer: type[torch.optim.Optimizer]) -> int:
    """Bytes that a real step holds at its fullest: weights, gradients, optimizer state, what autograd saved."""
    model = build_model(spec, image_size, 10)
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.randn(batch, 3, image_size, image_size)).sum()
    for parameter in model.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    loss.backward()
    kwargs = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    stepper = optimizer(model.parameters(), lr=0.1, **kwargs)
    stepper.step()
    state = [value for entry in stepper.state.values() for value in entry.values() if torch.is_tensor(value)]
    tensors = [*model.parameters(), *(p.grad for p in model.parameters()), *(s for s in state if s.ndim)]
    return sum(t.numel() * t.element_size() for t in tensors) + sum(storage.nbytes() for storage in saved.values())


@SPECS
@pytest.mark.parametrize(("name", "optimizer"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
@pytest.mark.parametrize(("image_size", "batch"), [(8, 2), (32, 7)])
def test_training_memory_is_what_a_real_step_holds(spec, name, optimizer, image_size, batch):
    """To the byte, with the attention matrices kept; a fused kernel keeps less, never more."""
    estimate = training_memory(spec, image_size, 10, batch, name)
    with sdpa_kernel(SDPBackend.MATH):
        assert measured_bytes(spec, image_size, batch, optimizer) == estimate
    assert measured_bytes(spec, image_size, batch, optimizer) <= estimate


@SPECS
def test_counting_draws_no_random_numbers(spec):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model_cost(spec, 32, 10)
    training_memory(spec, 32, 10, 4, "sgd")
    assert torch.equal(torch.get_rng_state(), before)


def test_counting_takes_no_memory():
    """A model of 174 billion weights, GPT-3's size, has 12 w^2 of them a block."""
    giant = ModelSpec(family="vit", size=12288, depth=96, heads=96)
    assert model_cost(giant, 224, 1000).n_params == pytest.approx(12 * 96 * 12288**2, rel=0.01)


@SPECS
def test_n_params_are_those_of_the_module(spec):
    model = build_model(spec, 32, 10)
    assert model_cost(spec, 32, 10).n_params == len(nn.utils.parameters_to_vector(model.parameters()))


def test_training_costs_three_forward_passes():
    """By torch's own count of a forward and a backward pass, where the first layer needs no input gradient."""
    from torch.utils.flop_counter import FlopCounterMode

    model = build_model(VIT, 32, 10)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.randn(5, 3, 32, 32)).sum().backward()
    first_layer = 2 * 3 * 4**2 * 12 * 64 * 5
    forward = model_cost(VIT, 32, 10).flops_per_image
    assert training_flops(forward, 5) == pytest.approx(counter.get_total_flops() + first_layer, rel=1e-9)


def test_a_runs_expected_cost_is_its_compute(make_run):
    """The published C of a ResNet-18, whoever builds it: a timm model's parameters are no width."""
    study = {"dataset": {"name": "digits", "image_size": 224}, "training": {"epochs": 3, "batch_size": 10}}
    by_timm = make_run(models=[{"family": "timm", "sizes": ["resnet18"]}], **study)
    assert by_timm.model.size > 10**7
    flops = model_cost(by_timm.model, 224, 10).flops_per_image
    assert expected_cost(by_timm, 500, 224, 10) == 3 * flops * 3 * 500
    ours = make_run(models=[{"family": "resnet", "sizes": ["18"]}], **study)
    assert expected_cost(by_timm, 500, 224, 10) == pytest.approx(expected_cost(ours, 500, 224, 10), rel=0.01)
    crops = make_run(models=[{"family": "resnet", "sizes": ["18"]}], objective="dino", **study)
    assert expected_cost(crops, 500, 64, 10) == pytest.approx(32 / 3 * expected_cost(ours, 500, 64, 10))


def test_small_models_cost_as_much_as_each_other(make_run):
    tiny, small = (make_run(models=[{"family": "resnet", "depth": 10, "sizes": [width]}]) for width in (2, 8))
    assert expected_cost(tiny, 20, 8, 10) == expected_cost(small, 20, 8, 10) == 3 * LEAST_FLOPS * 2 * 20
    assert expected_cost(tiny, 40, 8, 10) == 2 * expected_cost(tiny, 20, 8, 10)


def test_hundreds_of_runs_count_each_model_once(make_run, monkeypatch):
    built = []
    real = cost.build_model
    monkeypatch.setattr(cost, "build_model", lambda *arguments: built.append(arguments) or real(*arguments))
    model_cost.cache_clear()
    runs = [make_run(models=[{"family": "resnet", "depth": 10, "sizes": [8]}], seeds=[seed]) for seed in range(100)]
    assert len({expected_cost(run, 20, 8, 10) for run in runs}) == 1
    assert len(built) == 1
