"""A run that has ended holds no memory, in a process that goes on to the next."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scaling.train import build, loop
from scaling.train.loop import train_run
from scaling.train.memory import release_memory

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
DINO = {"name": "dino", "local_crops": 1, "hidden": 8, "bottleneck": 8, "prototypes": 8, "teacher_momentum": 0.01}
CASES = {
    "supervised": ({}, RESNET), "average": ({"training": {"ema_half_life_share": 0.05, "drop_path": 0.1}}, VIT),
    "dino": ({"objective": DINO}, VIT), "simclr": ({"objective": {"name": "simclr", "hidden": 8}}, RESNET),
    "ffgsm": ({"objective": "ffgsm"}, RESNET),
}  # fmt: skip


@pytest.fixture
def models(monkeypatch) -> Iterator[list[weakref.ref]]:
    """Weak references to all models that are built; nothing is collected but by reference counts."""
    built: list[weakref.ref] = []
    real = build.build_model

    def make(*arguments):
        model = real(*arguments)
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(build, "build_model", make)
    gc.collect()
    gc.disable()
    yield built
    gc.enable()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("end", ["done", "closed", "forgotten"])
def test_a_run_that_has_ended_keeps_no_model(make_run, digits_data, storage, models, case, end):
    changes, family = CASES[case]
    training = {"epochs": 2, "batch_size": 10} | changes.get("training", {})
    epochs = train_run(make_run(**{**changes, "models": [family], "training": training}), digits_data, storage)
    next(epochs)
    assert models[0]() is not None
    if end == "done":
        assert len(list(epochs)) == 1
    elif end == "closed":
        epochs.close()
    else:
        del epochs
    assert models[0]() is None, "a reference cycle keeps it"


def test_a_run_out_of_memory_keeps_no_model(make_run, digits_data, storage, models, monkeypatch):
    def step(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop.Training, "step", step)
    assert list(train_run(make_run(models=[RESNET]), digits_data, storage)) == []
    assert models[0]() is None


def test_a_failed_run_keeps_its_model_as_long_as_its_error(make_run, digits_data, storage, models, monkeypatch):
    def step(*arguments):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(loop.Training, "step", step)
    with pytest.raises(RuntimeError) as error:
        list(train_run(make_run(models=[RESNET]), digits_data, storage))
    assert models[0]() is not None
    del error
    release_memory()
    assert models[0]() is None


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the process's memory is read from /proc; absent here"
)
def test_freed_memory_goes_back_to_the_system():
    """Blocks below the size that glibc maps by itself, so that it keeps them, with one in use at the top."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    blocks = [torch.ones(16_000) for _ in range(2_000)]  # 64 kB each, 128 MB
    top = torch.ones(16_000)
    held = resident()
    del blocks
    release_memory()
    assert held - resident() > 100e6
    assert top.sum() == 16_000


def test_compiled_code_is_dropped(monkeypatch):
    called = []
    monkeypatch.setitem(sys.modules, "torch._dynamo", object())
    monkeypatch.setattr(torch.compiler, "reset", lambda: called.append(True))
    release_memory()
    assert called == [True]
