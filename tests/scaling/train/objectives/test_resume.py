"""Runs that are killed between any two steps and started again, alone or on other numbers of workers."""

from __future__ import annotations

import random
import time

import pytest
import torch
from killed import CASES, RESNET, VIT, outcome, save_after_every_step, train

from scaling.checkpoints import resume
from scaling.checkpoints.resume import RunProgress, SaveClock
from scaling.checkpoints.tensors import load_tensors
from scaling.layout import resume_name
from scaling.records import ResultsStore
from scaling.storage import Storage


@pytest.fixture
def save_always(monkeypatch):
    """A resume file after every step."""
    save_after_every_step(monkeypatch.setattr)


@pytest.mark.parametrize("family", [RESNET, VIT], ids=["resnet", "vit"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_at_three_random_steps_ends_in_the_same_bits(
    make_run, mapped_data, tmp_path, save_always, case, family
):
    objective, changes = CASES[case]
    training = {"epochs": 3, "batch_size": 7, "optimizer": "adamw", "lr": 1e-3, "clip_norm": 1.0} | changes
    run = make_run(
        models=[family], data_sizes=[3], objective=objective, training=training, checkpoints={"keep": [0, 2]}
    )
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    assert train(run, mapped_data, whole) == 3 * 5
    moments = random.Random(case).choices(range(1, 5), k=3)
    done = [train(run, mapped_data, broken, kill_at=moment) for moment in moments]
    assert done == moments
    assert train(run, mapped_data, broken) == 3 * 5 - sum(moments), "steps were trained twice"
    (facts, tensors), (broken_facts, broken_tensors) = outcome(whole, run), outcome(broken, run)
    assert broken_facts == facts, moments
    assert broken_tensors.keys() == tensors.keys()
    assert all(torch.equal(broken_tensors[name], tensor) for name, tensor in tensors.items()), moments
    assert broken.names(f"checkpoints/{run.run_id}") == whole.names(f"checkpoints/{run.run_id}")


def test_nothing_saved_means_the_run_starts_again(make_run, mapped_data, tmp_path):
    """A fresh clock saves nothing in the first seconds; the bits are the same all the same."""
    run = make_run(data_sizes=[3], training={"epochs": 2, "batch_size": 10})
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    train(run, mapped_data, whole)
    assert train(run, mapped_data, broken, kill_at=4) == 4
    assert train(run, mapped_data, broken) == 6
    tensors = outcome(whole, run)[1]
    assert all(torch.equal(outcome(broken, run)[1][name], tensor) for name, tensor in tensors.items())


def test_the_resume_file_holds_averages_and_heads(make_run, mapped_data, storage, save_always):
    """Without them the bits above would differ: they are no function of the weights."""
    run = make_run(objective=CASES["dino"][0], training={"epochs": 2, "batch_size": 10})
    train(run, mapped_data, storage, kill_at=1)
    names = set(load_tensors(storage, resume_name(run.run_id))[0])
    assert {"objective.centre", "objective.teacher.conv1.weight", "objective.head.prototypes.weight"} <= names
    run = make_run(training={"epochs": 2, "batch_size": 10, "ema": 0.3})
    train(run, mapped_data, storage, kill_at=1)
    names = set(load_tensors(storage, resume_name(run.run_id))[0])
    assert any(name.startswith("average.") and name.endswith("conv1.weight") for name in names)


def test_seconds_of_an_interrupted_epoch_add_up(make_run, mapped_data, storage, save_always):
    run = make_run(data_sizes=[3], training={"epochs": 1, "batch_size": 10})
    began = time.monotonic()
    train(run, mapped_data, storage, kill_at=2)
    train(run, mapped_data, storage)
    (record,) = ResultsStore(storage).read_epochs(run.run_id)
    assert 0 < record.compute_share <= 1
    assert 0 < record.epoch_s < time.monotonic() - began
    assert record.images_per_s == pytest.approx(30 / record.epoch_s)
    total = ResultsStore(storage).read_run(run.run_id)
    assert total.images_per_s == pytest.approx(record.images_per_s)
    assert total.flops_per_s == pytest.approx(total.flops / record.epoch_s)
    assert total.compute_share == pytest.approx(record.compute_share)


def test_saving_stays_a_small_share_of_the_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    clock = SaveClock()
    assert not clock.due(2.0)
    now[0] += 2.0
    assert clock.due(2.0)
    now[0] += 1.0
    clock.saved(began=now[0] - 1.0)  # it took a second: the next is due when that is 2 % of the time
    now[0] += 49.0
    assert not clock.due(2.0)
    now[0] += 1.0
    assert clock.due(2.0)


def test_progress_survives_its_header():
    progress = RunProgress(epoch=3, step=2, loss_sum=0.1 + 0.2, seconds=1 / 3, busy_s=0.25, train_s=9.0)
    assert RunProgress.from_header(progress.header()) == progress
