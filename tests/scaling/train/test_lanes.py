"""Runs side by side in one process end in the same bits as apart; what ends one leaves the others alone."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import CASES, RESNET, VIT, outcome, save_after_every_step

from scaling.data.images import ImageData, ImageSet, load_images
from scaling.records import EpochRecord, ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train import lanes as lanes_module
from scaling.train.distributed.worker import Worker
from scaling.train.lanes import End, Job, Lanes, train_side_by_side
from scaling.train.loop import Training, train_run

ALEXNET = {"family": "alexnet", "sizes": [2]}  # with dropout


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Digits whose maps are their ink; two images in three have one."""
    digits = load_images(DatasetSpec(name="digits"), Path("no such folder"))
    maps = digits.train.images.mean(-1).astype(np.float32)
    maps[::3] = np.nan
    return replace(digits, train=ImageSet(digits.train.images, digits.train.labels, maps))


@pytest.fixture
def different_runs(make_run) -> list[RunSpec]:
    """Every objective, with and without attention, dropout, stochastic depth and bfloat16."""
    common = {"epochs": 2, "batch_size": 10, "optimizer": "adamw", "lr": 1e-3, "clip_norm": 1.0}
    families = {"mixed": VIT, "harmonizer": VIT, "dino": VIT, "supervised": ALEXNET}
    cases = [*((case, families.get(case, RESNET)) for case in CASES), ("harmonizer", RESNET), ("averaged", VIT)]
    return [
        make_run(
            models=[family], data_sizes=[3], objective=CASES[case][0], checkpoints={"keep": [0, 2]},
            training=common | CASES[case][1] | ({"drop_path": 0, "ema": 0.4} if family is ALEXNET else {}),
            seeds=[seed],
        )
        for seed, (case, family) in enumerate(cases)
    ]  # fmt: skip


def same(one: Storage, other: Storage, run: RunSpec) -> None:
    (facts, tensors), (other_facts, other_tensors) = outcome(one, run), outcome(other, run)
    assert other_facts == facts, run.label()
    assert [name for name in tensors if not torch.equal(tensors[name], other_tensors[name])] == [], run.label()


def test_runs_side_by_side_end_in_the_same_bits_as_apart(different_runs, data, tmp_path):
    apart, together = Storage(tmp_path / "apart"), Storage(tmp_path / "together")
    for run in different_runs:
        list(train_run(run, data, apart))
    heard: dict[str, list[object]] = {run.run_id: [] for run in different_runs}
    for run_id, news in train_side_by_side([Job(run, data, together, Worker()) for run in different_runs]):
        heard[run_id].append(news)
    for run in different_runs:
        *records, end = heard[run.run_id]
        assert end == End(None)
        assert records == ResultsStore(together).read_epochs(run.run_id)
        same(apart, together, run)


@pytest.fixture
def runs(make_run) -> list[RunSpec]:
    """Three alike but for the seed, of three epochs."""
    return [
        make_run(models=[VIT], training={"epochs": 3, "batch_size": 10, "lr": 1e-3}, seeds=[seed]) for seed in range(3)
    ]


@pytest.fixture
def lanes():
    """Makes Lanes that are closed after the test."""
    made: list[Lanes] = []

    def make(*words, **named) -> Lanes:
        made.append(Lanes(*words, **named))
        return made[-1]

    yield make
    for each in made:
        each.close()


def wait_for(condition, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def taken(lanes: Lanes, run: RunSpec) -> tuple[list[int], End]:
    """The epochs of a lane and its end."""
    seen: list[EpochRecord] = []
    end = None
    while end is None:
        new, end = lanes.take(run.run_id, len(seen), 30.0)
        seen += new
    return [record.epoch for record in seen], end


class Faults:
    """Makes steps of some runs fail: run_id -> (how many steps go well, the error of the next, how often)."""

    def __init__(self, monkeypatch) -> None:
        self.plans: dict[str, tuple[int, Exception, int]] = {}
        self.steps: dict[str, int] = {}
        real = Training.step

        def step(training: Training, batch, lr):
            run_id = training.run.run_id
            self.steps[run_id] = self.steps.get(run_id, 0) + 1
            after, error, left = self.plans.get(run_id, (0, None, 0))
            if left and self.steps[run_id] > after:
                self.plans[run_id] = (after, error, left - 1)
                raise error
            return real(training, batch, lr)

        monkeypatch.setattr(Training, "step", step)


def test_what_ends_one_run_leaves_the_others_alone(runs, make_run, digits_data, tmp_path, monkeypatch):
    diverging = make_run(models=[VIT], training={"epochs": 3, "batch_size": 10, "lr": 1e18}, seeds=[7])
    buggy, *sound = runs
    Faults(monkeypatch).plans[buggy.run_id] = (2, ZeroDivisionError("by zero"), 1)
    together, apart = Storage(tmp_path / "together"), Storage(tmp_path / "apart")
    jobs = [Job(run, digits_data, together, Worker()) for run in (buggy, diverging, *sound)]
    ends = {run_id: news for run_id, news in train_side_by_side(jobs) if isinstance(news, End)}
    assert isinstance(ends[buggy.run_id].error, ZeroDivisionError)
    assert [ends[run.run_id] for run in (diverging, *sound)] == [End()] * 3
    records = ResultsStore(together).read_runs()
    assert (records[diverging.run_id].status, buggy.run_id in records) == ("diverged", False)
    for run in sound:
        list(train_run(run, digits_data, apart))
        same(apart, together, run)


def test_a_run_that_does_not_fit_waits_and_nobody_overtakes(runs, digits_data, storage, lanes):
    need = lanes_module.MARGIN * lanes_module._step_bytes(Job(runs[0], digits_data, storage, Worker()))
    room = lanes(2.5 * need)
    for run in runs:
        room.start(run.run_id, Job(run, digits_data, storage, Worker(), paced=True))
    wait_for(lambda: len(room.active) == 2)
    assert [lane.key for lane in room.active] == [run.run_id for run in runs[:2]]
    assert room.take(runs[2].run_id, 0) == ([], None)
    assert taken(room, runs[0])[1] == End()
    wait_for(lambda: [lane.key for lane in room.active] == [run.run_id for run in runs[1:]])
    assert taken(room, runs[1]) == taken(room, runs[2]) == ([1, 2, 3], End())


def test_no_more_than_the_width_at_once_and_one_however_large(runs, digits_data, storage, lanes):
    width = 1
    room = lanes(1.0, lambda: width)  # a byte: none fits
    for run in runs[:2]:
        room.start(run.run_id, Job(run, digits_data, storage, Worker(), paced=True))
    wait_for(lambda: len(room.active) == 1)
    assert taken(room, runs[0]) == taken(room, runs[1]) == ([1, 2, 3], End())
    wide = lanes(width=lambda: width)
    for run in runs:
        wide.start(run.run_id, Job(run, digits_data, storage.child("wide"), Worker(), paced=True))
    wait_for(lambda: len(wide.active) == 1)
    width = 3
    wide.look()
    wait_for(lambda: len(wide.active) == 3)


@pytest.mark.parametrize("times", [1, 2])
def test_memory_that_runs_out_beside_others_is_tried_again_alone(
    runs, digits_data, tmp_path, monkeypatch, lanes, times
):
    """Once: it was the neighbours; twice: it is the run's own."""
    save_after_every_step(monkeypatch.setattr)
    first, second, _ = runs
    faults, room = Faults(monkeypatch), lanes()
    faults.plans[second.run_id] = (3, torch.OutOfMemoryError("CUDA out of memory"), times)
    storage, apart = Storage(tmp_path / "together"), Storage(tmp_path / "apart")
    room.start(first.run_id, Job(first, digits_data, storage, Worker(), paced=True))
    wait_for(lambda: room.take(first.run_id, 0)[0])
    room.start(second.run_id, Job(second, digits_data, storage, Worker()))
    wait_for(lambda: faults.steps.get(second.run_id, 0) == 4 and len(room.active) == 1)
    assert [lane.key for lane in room.active] == [first.run_id]
    assert taken(room, first) == ([1, 2, 3], End())
    epochs, end = taken(room, second)
    record = ResultsStore(storage).read_run(second.run_id)
    if times == 2:
        assert (epochs, end, record.status) == ([1], End(), "out_of_memory")
        return
    assert (epochs, end) == ([1, 2, 3], End()), "each told once"
    assert faults.steps[second.run_id] == 6 + 1, "it went on where it was"
    list(train_run(second, digits_data, apart))
    same(apart, storage, second)


def test_a_paced_run_waits_for_each_epoch_to_be_taken_and_stops_where_it_is_left(runs, digits_data, storage, lanes):
    room, (run, *_) = lanes(), runs
    room.start(run.run_id, Job(run, digits_data, storage, Worker(), paced=True))
    assert [record.epoch for record in room.take(run.run_id, 0, 30.0)[0]] == [1]
    assert room.take(run.run_id, 0, 0.2)[0][-1].epoch == 1, "asked again for the first, as by another process"
    assert [record.epoch for record in room.take(run.run_id, 1, 30.0)[0]] == [2]
    room.leave(run.run_id)
    room.close()
    assert (room.active, len(room)) == ([], 0)
    assert ResultsStore(storage).read_runs() == {}
    assert [thread.name for thread in threading.enumerate() if thread.name == run.run_id] == []
