"""Checkpoints: what was saved comes back, others can read it, damage is named."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file

import scaling
from scaling.checkpoints.resume import flat_optimizer_state, restore_optimizer_state
from scaling.checkpoints.tensors import load_tensors, save_tensors, tensors_under, weights_sha256
from scaling.checkpoints.weights import CheckpointInfo, load_checkpoint, load_info, load_weights, save_weights
from scaling.errors import DamagedFile, MissingFile, StorageError, StudyError
from scaling.layout import resume_name, weights_name, weights_names
from scaling.models import build_model
from scaling.specs.training import TrainingSpec
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
    save_weights(storage, model, info)
    loaded, facts = load_weights(storage, info.run.run_id, 2)
    assert facts == info
    images = torch.randn(3, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model.eval()(images))


def test_the_file_is_plain_safetensors_with_its_facts_as_json(storage, info, model):
    save_weights(storage, model, info)
    path = storage.path(f"checkpoints/{info.run.run_id}/epoch-00002.safetensors")
    assert {name: t.shape for name, t in load_file(path).items()} == {n: t.shape for n, t in model.state_dict().items()}
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["checkpoint"])
    assert (facts["accuracy"], facts["run"]["model"]["family"], facts["mean"]) == (0.25, "resnet", [0.1, 0.2, 0.3])


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(storage, info, model, keep):
    save_weights(storage, model, info)
    name = weights_name(info.run.run_id, 2)
    content = storage.read_bytes(name)
    storage.write_bytes(name, content[: int(keep * len(content))])
    with pytest.raises(
        DamagedFile, match=rf"epoch 2 of run {info.run.run_id}: .*epoch-00002\.safetensors' cannot be read.*; put back"
    ) as error:
        load_weights(storage, info.run.run_id, 2)
    assert "delete" not in str(error.value)
    with pytest.raises(DamagedFile):
        load_info(storage, name)


def test_a_missing_file_is_named(storage, info):
    with pytest.raises(MissingFile, match=rf"epoch 9 of run .*{info.run.run_id}/epoch-00009\.safetensors' cannot be"):
        load_weights(storage, info.run.run_id, 9)


def test_a_disk_that_is_full_is_the_places_fault(storage, info, model, monkeypatch):
    def fill(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("scaling.checkpoints.tensors.save_file", fill)
    with pytest.raises(StorageError, match=r"epoch-00002\.safetensors' cannot be written .*; make room there"):
        save_weights(storage, model, info)
    assert storage.names(f"checkpoints/{info.run.run_id}") == []


def rewrite(storage, name: str, change) -> None:
    """Apply `change(tensors, header)` to a file in place."""
    tensors, header = load_tensors(storage, name)
    change(tensors, header)
    save_tensors(storage, name, tensors, header)


def test_the_header_holds_the_hashes_of_what_is_stored(storage, info, model):
    """Weights: of each array by name, a line of JSON and its bytes, read with NumPy."""
    save_weights(storage, model, info)
    path = storage.path(weights_name(info.run.run_id, 2))
    with safe_open(path, framework="np") as file:
        header = file.metadata()
    digest = hashlib.sha256()
    for name, array in sorted(load_numpy(path).items()):
        digest.update(f'["{name}", "{array.dtype}", {list(array.shape)}]\n'.encode() + array.tobytes("C"))
    assert header["weights_sha256"] == digest.hexdigest()
    assert header["checkpoint_sha256"] == hashlib.sha256(header["checkpoint"].encode()).hexdigest()
    assert header["version"] == scaling.__version__
    assert load_info(storage, weights_name(info.run.run_id, 2)) == info


def test_memory_format_and_order_of_names_are_not_in_the_hash(storage, info, model):
    plain = model.state_dict()
    images = torch.randn(3, 3, 8, 8)
    with torch.inference_mode():
        expected = model.eval()(images)
    save_weights(storage, model.to(memory_format=torch.channels_last), info)
    strided = model.state_dict()
    assert any(not tensor.is_contiguous() for tensor in strided.values()), "channels_last did nothing"
    turned = dict(reversed(strided.items()))
    assert weights_sha256(turned) == weights_sha256(plain)
    loaded, _ = load_weights(storage, info.run.run_id, 2, verify=True)
    with torch.inference_mode():
        assert torch.equal(loaded(images), expected)


def test_every_difference_changes_the_hash():
    values = torch.arange(6, dtype=torch.int32)
    same = {"a": values, "b": values.reshape(2, 3)}
    different = [
        {"a": values},
        {"a": values, "c": values.reshape(2, 3)},
        {"a": values, "b": values.reshape(3, 2)},
        {"a": values, "b": values.reshape(2, 3).float()},
        {"a": values.view(torch.float32), "b": values.reshape(2, 3)},
        {"a": values + 1, "b": values.reshape(2, 3)},
        {"a": values, "b": values.reshape(2, 3).bfloat16()},
        {"a": torch.tensor(7), "b": torch.zeros(0)},
    ]
    hashes = {weights_sha256(tensors) for tensors in (same, *different)}
    assert len(hashes) == 1 + len(different)


def test_changed_weights_are_found_when_asked(storage, info, model):
    save_weights(storage, model, info)
    run_id = info.run.run_id
    load_weights(storage, run_id, 2, verify=True)
    rewrite(storage, weights_name(run_id, 2), lambda tensors, _: tensors["fc.bias"].add_(1e-7))
    load_weights(storage, run_id, 2)
    with pytest.raises(
        StudyError, match=r"epoch-00002\.safetensors' has weights that are not what was written \(weights_sha256"
    ):
        load_weights(storage, run_id, 2, verify=True)


def test_changed_facts_are_found_always(storage, info, model):
    save_weights(storage, model, info)
    name = weights_name(info.run.run_id, 2)
    better = info.model_copy(update={"accuracy": 0.99}).model_dump_json()
    rewrite(storage, name, lambda _, header: header.update(checkpoint=better))
    for load in (
        lambda: load_weights(storage, info.run.run_id, 2),
        lambda: load_info(storage, name),
    ):
        with pytest.raises(
            StudyError, match=r"epoch-00002.* has a header that is not what was written \(checkpoint_sha256"
        ):
            load()


def test_a_file_from_before_the_hashes_is_loaded_but_cannot_be_verified(storage, info, model):
    name = weights_name(info.run.run_id, 2)
    save_tensors(storage, name, dict(model.state_dict()), {"checkpoint": info.model_dump_json()})
    loaded, facts = load_weights(storage, info.run.run_id, 2)
    assert facts == info
    assert torch.equal(loaded.fc.weight, model.fc.weight)
    with pytest.raises(StudyError, match="was written without hashes"):
        load_weights(storage, info.run.run_id, 2, verify=True)


def test_what_is_no_checkpoint_of_this_run_is_named(storage, info, model):
    run_id = info.run.run_id
    save_weights(storage, model, info)
    content = storage.read_bytes(weights_name(run_id, 2))
    storage.write_bytes(weights_name(run_id, 1), content)
    with pytest.raises(StudyError, match=f"epoch-00001.* holds run {run_id}, epoch 2, not what it is named"):
        load_weights(storage, run_id, 1)
    save_tensors(storage, "other.safetensors", {"a": torch.zeros(2)}, {})
    with pytest.raises(StudyError, match=r"other\.safetensors' is no checkpoint of a run"):
        load_checkpoint(storage, "other.safetensors")
    header = {"checkpoint": info.model_dump_json(), "version": "0.0.9"}
    save_tensors(storage, "other.safetensors", {"a": torch.zeros(2)}, header)
    with pytest.raises(StudyError, match=r"are not those of resnet-10 w2 \(Missing key.*version 0\.0\.9"):
        load_checkpoint(storage, "other.safetensors")
    header["checkpoint"] = header["checkpoint"].replace('"accuracy"', '"top1"')
    save_tensors(storage, "other.safetensors", {"a": torch.zeros(2)}, header)
    with pytest.raises(StudyError, match=r"was written by version 0\.0\.9 .*accuracy: Field required"):
        load_info(storage, "other.safetensors")


def test_a_runs_weights_are_listed_without_its_resume_file(storage, info, model):
    assert weights_names(storage, info.run.run_id) == []
    for epoch in (10, 2):
        save_weights(storage, model, info.model_copy(update={"epoch": epoch}))
    save_tensors(storage, resume_name(info.run.run_id), {"a": torch.zeros(1)}, {})
    names = [weights_name(info.run.run_id, epoch) for epoch in (2, 10)]
    assert weights_names(storage, info.run.run_id) == names


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
    save_tensors(storage, "resume", state | flat_optimizer_state(optimizer), {"epoch": "1"})
    for seed in (1, 2):
        step(model, optimizer, seed)
    tensors, header = load_tensors(storage, "resume")
    assert header == {"epoch": "1"}
    other = build_model(info.run.model, 8, 10)
    other.load_state_dict(tensors_under("model.", tensors))
    second = build_optimizer(other, spec)
    restore_optimizer_state(second, tensors)
    for seed in (1, 2):
        step(other, second, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
