"""The process that trials hand their runs to: what it tells them, and what ends with what. Without a Ray that runs."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

from scaling.cluster import lane_host
from scaling.cluster.lane_host import HostWish, LaneHost
from scaling.data.image_source import image_source
from scaling.records import ResultsStore
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec
from scaling.train.loop import Training

VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
SHARED = {"cpus_per_worker": 0.5}


@pytest.fixture
def runs(make_run) -> list[RunSpec]:
    changes = {"models": [VIT], "training": {"epochs": 3, "batch_size": 10, "lr": 1e-3}, "resources": SHARED}
    return [make_run(seeds=[seed], checkpoints={"score": [1, "last"]}, **changes) for seed in range(3)]


@pytest.fixture
def host(runs, storage):
    shape = ResourceSpec(**SHARED).model_dump_json()
    source = image_source(runs[0].dataset, Path("no such folder"))
    made = LaneHost(source, storage.uri, HostWish("host", "node", None, 2, shape))
    yield made
    made.lanes.close()


def join(host: LaneHost, run: RunSpec) -> bool:
    return host.join(run.model_dump(mode="json"))


def told(host: LaneHost, run: RunSpec) -> list[list[int]]:
    """The epochs of each answer, to the last."""
    answers, seen, done = [], 0, False
    while not done:
        records, done = host.take(run.run_id, seen, 30.0)
        seen += len(records)
        answers.append([record.epoch for record in records])
    return answers


def test_a_cpu_has_as_many_runs_as_there_are_shares_of_it(host, runs):
    assert [join(host, run) for run in runs] == [True, True, False]
    assert join(host, runs[0]), "handed over again, as by a trial that was started again"
    assert list(chain(*told(host, runs[0]))) == [1, 2, 3]
    assert list(chain(*told(host, runs[0]))) == [1, 2, 3], "the new trial hears all of it"
    assert [host.has(run.run_id) for run in runs] == [True, True, False]
    host.leave(runs[0].run_id)
    assert join(host, runs[2])
    assert [host.has(run.run_id) for run in runs] == [False, True, True]


def test_epochs_that_are_scored_are_told_at_once_and_others_together(host, runs, storage):
    assert join(host, runs[0])
    answers = told(host, runs[0])
    assert answers[0][0] == 1
    assert list(chain(*answers)) == [1, 2, 3]
    assert ResultsStore(storage).read_run(runs[0].run_id).status == "finished"


def test_its_first_steps_tell_how_fast_a_run_is(host, runs, monkeypatch):
    probe = runs[0].model_copy(update={"validation": 0.5, "images_per_class": 4, "score_epochs": (), "keep_epochs": ()})
    assert host.pace(probe.run_id) is None
    assert join(host, probe)
    assert [record.epoch for record in host.take(probe.run_id, 0, 30.0)[0]] == [1]
    assert host.pace(probe.run_id)[0] == 0, "from the first look on"
    assert [record.epoch for record in host.take(probe.run_id, 1, 30.0)[0]] == [2]
    images, seconds = host.pace(probe.run_id)
    assert images == probe.images_per_class * 10 / 2
    assert seconds > 0


def test_a_probe_is_told_epoch_by_epoch_and_ends_with_its_last(host, runs, storage):
    probe = runs[0].model_copy(update={"validation": 0.5, "images_per_class": 4, "score_epochs": (), "keep_epochs": ()})
    assert join(host, probe)
    assert told(host, probe) == [[1], [2], [3]]
    assert ResultsStore(storage).read_run(probe.run_id).status == "finished"
    host.leave(probe.run_id)


ERRORS = {
    "a bug": (ZeroDivisionError("by zero"), False, False),
    "CUDA": (RuntimeError("CUDA error: an illegal memory access was encountered"), True, True),
    "a full disk": (OSError(28, "No space left on device"), True, False),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_errors_cause_says_whether_it_is_recorded_raised_and_the_end_of_the_host(
    host, runs, storage, monkeypatch, case
):
    error, raised, ends = ERRORS[case]
    exits, real = [], Training.step
    monkeypatch.setattr(lane_host, "LAST_WORDS_S", 0.0)
    monkeypatch.setattr(lane_host.os, "_exit", exits.append)

    def step(training, batch, lr) -> torch.Tensor:
        if training.run == runs[0]:
            raise error
        return real(training, batch, lr)

    monkeypatch.setattr(Training, "step", step)
    assert join(host, runs[0])
    assert join(host, runs[1])
    if raised:
        with pytest.raises(type(error), match=str(error.args[-1])):
            told(host, runs[0])
    else:
        assert told(host, runs[0]) == [[]]
    assert list(chain(*told(host, runs[1]))) == [1, 2, 3], "its neighbour"
    records = ResultsStore(storage).read_runs()
    assert (runs[0].run_id in records) == (not raised)
    assert (host.ending, join(host, runs[1])) == (ends, not ends)


def test_a_run_that_is_refused_at_once_is_done_with_a_record(host, runs, storage, make_run):
    refused = runs[0].model_copy(update={"images_per_class": 5000})
    other = runs[1].model_copy(update={"dataset": refused.dataset})
    assert join(host, refused)
    assert told(host, refused) == [[]]
    assert ResultsStore(storage).read_run(refused.run_id).status == "failed"
    assert join(host, other)
    assert list(chain(*told(host, other))) == [1, 2, 3]
