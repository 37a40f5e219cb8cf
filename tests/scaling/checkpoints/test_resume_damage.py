"""A resume file of no use is set aside, and the run begins as a new one does; a place that fails is no damage."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from scaling.checkpoints.resume import load_resume, save_resume
from scaling.checkpoints.tensors import load_tensors, save_tensors
from scaling.errors import StorageError
from scaling.layout import resume_name, resume_note
from scaling.records import ResultsStore
from scaling.storage import Storage
from scaling.train.loop import Training


def bytes_of(change: Callable[[bytes], bytes]) -> Callable[[Storage, str], None]:
    return lambda storage, name: storage.write_bytes(name, change(storage.read_bytes(name)))


def parts_of(change: Callable[[dict, dict], object]) -> Callable[[Storage, str], None]:
    def damage(storage: Storage, name: str) -> None:
        tensors, header = load_tensors(storage, name)
        change(tensors, header)
        save_tensors(storage, name, tensors, header)

    return damage


def progress(**changes: object) -> Callable[[Storage, str], None]:
    return parts_of(lambda _, header: header.update(progress=json.dumps(json.loads(header["progress"]) | changes)))


DAMAGE = {
    "empty": bytes_of(lambda content: b""),
    "truncated": bytes_of(lambda content: content[: len(content) // 2]),
    "all but the end": bytes_of(lambda content: content[:-1]),
    "garbage": bytes_of(lambda content: b"\xff" * len(content)),
    "zeros": bytes_of(lambda content: bytes(len(content))),
    "no header": parts_of(lambda _, header: header.clear()),
    "no history": parts_of(lambda _, header: header.pop("history")),
    "no JSON": parts_of(lambda _, header: header.update(progress="{")),
    "other JSON": parts_of(lambda _, header: header.update(progress="[1]")),
    "history of numbers": parts_of(lambda _, header: header.update(history="7")),
    "history of other rows": parts_of(lambda _, header: header.update(history='[{"epoch": 1}]')),
    "other fields": progress(pace=1),
    "an epoch that is text": progress(epoch="1"),
    "a negative step": progress(step=-1),
    "seconds that are none": progress(train_s=float("nan")),
    "a tensor too few": parts_of(lambda tensors, _: tensors.pop("model.fc.bias")),
    "a tensor too many": parts_of(lambda tensors, _: tensors.update({"model.fc.other": torch.zeros(1)})),
    "another shape": parts_of(lambda tensors, _: tensors.update({"model.fc.bias": torch.zeros(3)})),
    "another type": parts_of(lambda tensors, _: tensors.update({"model.fc.bias": torch.zeros(10, dtype=torch.int32)})),
    "an optimizer's other shape": parts_of(
        lambda tensors, _: tensors.update({"optimizer.0.momentum_buffer": torch.zeros(3)})
    ),
    "an optimizer's other parameter": parts_of(
        lambda tensors, _: tensors.update({"optimizer.999.momentum_buffer": torch.zeros(1)})
    ),
    "an optimizer's text": parts_of(lambda tensors, _: tensors.update({"optimizer.x.momentum_buffer": torch.zeros(1)})),
}


def half_trained(run, data, storage: Storage) -> Training:
    """A run after its first epoch, and its resume file."""
    training = Training(run, data, storage)
    epochs = training.epochs()
    next(epochs)
    save_resume(storage, run.run_id, training._kept_modules, training.optimizer, training.progress)
    return training


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_resume_file_of_no_use_is_set_aside(make_run, digits_data, storage, damage):
    run = make_run()
    half_trained(run, digits_data, storage)
    damage(storage, resume_name(run.run_id))
    fresh = Training(run, digits_data, storage)
    before = {name: tensor.clone() for name, tensor in fresh.model.state_dict().items()}
    with pytest.warns(UserWarning, match=f"run {run.run_id} begins anew, its resume file is of no use: "):
        assert load_resume(storage, run.run_id, fresh._kept_modules, fresh.optimizer) is None
    assert not storage.exists(resume_name(run.run_id))
    assert b"of no use" in storage.read_bytes(resume_note(run.run_id))
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.model.state_dict().items())
    assert fresh.optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("name", ["truncated", "an optimizer's other shape"])
def test_the_run_then_ends_as_if_it_had_never_been_killed(make_run, digits_data, tmp_path, name):
    run = make_run()
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    list(Training(run, digits_data, whole).epochs())
    half_trained(run, digits_data, broken)
    DAMAGE[name](broken, resume_name(run.run_id))
    with pytest.warns(UserWarning, match="begins anew"):
        assert len(list(Training(run, digits_data, broken).epochs())) == 2
    (expected,), (found,) = (ResultsStore(place).read_runs().values() for place in (whole, broken))
    assert (found.loss, found.accuracy, found.status) == (expected.loss, expected.accuracy, "finished")


def test_a_whole_resume_file_is_used(make_run, digits_data, storage):
    run = make_run()
    half_trained(run, digits_data, storage)
    assert len(list(Training(run, digits_data, storage).epochs())) == 1
    assert not storage.exists(resume_note(run.run_id))


def test_a_place_that_does_not_answer_is_no_damage(make_run, digits_data, storage, monkeypatch):
    run = make_run()
    training = half_trained(run, digits_data, storage)

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("scaling.checkpoints.tensors.safe_open", fail)
    with pytest.raises(StorageError, match="Input/output"):
        load_resume(storage, run.run_id, training._kept_modules, training.optimizer)
    assert storage.exists(resume_name(run.run_id))
