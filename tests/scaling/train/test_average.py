"""The weights' average against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scaling.models import build_model
from scaling.specs.model import ModelSpec
from scaling.train.average import build_average, follow


def random_states(model: nn.Module, n: int) -> list[dict[str, torch.Tensor]]:
    """The model's state, and n states that it might go through."""
    torch.manual_seed(0)
    states = [{name: value.clone() for name, value in model.state_dict().items()}]
    for step in range(1, n + 1):
        states.append({
            name: torch.randn_like(value) if value.is_floating_point() else torch.full_like(value, step)
            for name, value in states[0].items()
        })  # fmt: skip
    return states


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_its_closed_form(decay):
    """decay^n w_0 + (1 - decay) sum_k decay^(n - k) w_k, batch norm's statistics too; counters are the last."""
    model = build_model(ModelSpec(family="resnet", size=2, depth=10), 8, 3)
    states, average = random_states(model, 6), build_average(model)
    for state in states[1:]:
        model.load_state_dict(state)
        follow(average, model, decay)
    weights = [decay**6] + [(1 - decay) * decay ** (6 - k) for k in range(1, 7)]
    for name, value in average.module.state_dict().items():
        if value.is_floating_point():
            terms = zip(weights, states, strict=True)
            expected = sum(weight * state[name].double() for weight, state in terms)
            torch.testing.assert_close(value.double(), expected, atol=1e-5, rtol=1e-5)
        else:
            assert torch.equal(value, states[-1][name])


def test_an_average_goes_on_from_its_state_bit_for_bit():
    model = build_model(ModelSpec(family="resnet", size=2, depth=10), 8, 3)
    states, average = random_states(model, 4), build_average(model)
    resumed = None
    for step, state in enumerate(states[1:]):
        model.load_state_dict(state)
        follow(average, model, 0.9)
        if step == 1:
            resumed = build_average(build_model(ModelSpec(family="resnet", size=2, depth=10), 8, 3))
            resumed.load_state_dict(average.state_dict())
        elif resumed is not None:
            follow(resumed, model, 0.9)
    pairs = zip(average.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_the_average_is_not_trained_and_sees_no_batch_of_its_own():
    average = build_average(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
