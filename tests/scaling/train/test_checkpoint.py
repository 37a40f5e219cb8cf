"""Checkpoints: what was saved comes back, others can read it, damage is named."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scaling.errors import StudyError
from scaling.models import build_model
from scaling.study import TrainingSpec
from scaling.train import checkpoint
from scaling.train.checkpoint import CheckpointInfo
from scaling.train.optim import build_optimizer

CPU = torch.device("cpu")


@pytest.fixture
def info(make_run) -> CheckpointInfo:
    facts = {"samples_seen": 40, "flops": 4e9, "accuracy": 0.25, "image_size": 8, "n_classes": 10}
    return CheckpointInfo(run=make_run(), epoch=2, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), **facts)


@pytest.fixture
def model(info):
    torch.manual_seed(0)
    return build_model(info.run.model, 8, 10)


def test_weights_and_facts_come_back(storage, info, model):
    model(torch.randn(4, 3, 8, 8))  # moves the batch norms' running statistics
    checkpoint.save_weights(storage, model, info)
    loaded, facts = checkpoint.load_weights(storage, info.run.run_id, 2)
    assert facts == info
    images = torch.randn(3, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model.eval()(images))


def test_the_file_is_plain_safetensors_with_its_facts_as_json(storage, info, model):
    checkpoint.save_weights(storage, model, info)
    path = storage.path(f"checkpoints/{info.run.run_id}/epoch-00002.safetensors")
    assert {name: t.shape for name, t in load_file(path).items()} == {n: t.shape for n, t in model.state_dict().items()}
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["checkpoint"])
    assert (facts["accuracy"], facts["run"]["model"]["family"], facts["mean"]) == (0.25, "resnet", [0.1, 0.2, 0.3])


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(storage, info, model, keep):
    checkpoint.save_weights(storage, model, info)
    name = checkpoint.weights_name(info.run.run_id, 2)
    content = storage.read_bytes(name)
    storage.write_bytes(name, content[: int(keep * len(content))])
    with pytest.raises(StudyError, match=r"epoch-00002\.safetensors' cannot be read .*; delete the run's record"):
        checkpoint.load_weights(storage, info.run.run_id, 2)


def test_a_missing_file_is_named(storage, info):
    with pytest.raises(StudyError, match=rf"{info.run.run_id}/epoch-00009\.safetensors' cannot be read"):
        checkpoint.load_weights(storage, info.run.run_id, 9)


@pytest.mark.parametrize(
    "spec", [TrainingSpec(momentum=0.9), TrainingSpec(momentum=0.0), TrainingSpec(optimizer="adamw", lr=0.01)]
)
def test_an_optimizer_goes_on_where_it_stopped(storage, info, model, spec):
    """Three steps, and one step, a save, a load and two steps, end in the same bits."""

    def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        module(images).square().sum().backward()
        optimizer.step()

    optimizer = build_optimizer(model, spec)
    step(model, optimizer, 0)
    state = {f"model.{name}": t.clone() for name, t in model.state_dict().items()}
    checkpoint.save_tensors(storage, "resume", state | checkpoint.flat_optimizer_state(optimizer), {"epoch": "1"})
    for seed in (1, 2):
        step(model, optimizer, seed)
    tensors, header = checkpoint.load_tensors(storage, "resume")
    assert header == {"epoch": "1"}
    other = build_model(info.run.model, 8, 10)
    other.load_state_dict(checkpoint.model_tensors(tensors))
    second = build_optimizer(other, spec)
    checkpoint.restore_optimizer_state(second, tensors)
    for seed in (1, 2):
        step(other, second, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_random_numbers_go_on_where_they_stopped(storage):
    torch.manual_seed(3)
    torch.rand(5)
    checkpoint.save_tensors(storage, "random", checkpoint.random_state(CPU), {})
    expected = torch.rand(5)
    torch.manual_seed(99)
    checkpoint.restore_random_state(checkpoint.load_tensors(storage, "random")[0], CPU)
    assert torch.equal(torch.rand(5), expected)
