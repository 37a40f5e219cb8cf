"""One trunk, many branches: each is the run that it would be alone, bit for bit, killed anywhere or not."""

from __future__ import annotations

import math
import random

import pytest
import torch

from scaling import layout
from scaling.checkpoints import resume
from scaling.checkpoints.tensors import load_tensors
from scaling.data.subsets import nested_rounds, nested_subset
from scaling.records import ResultsStore
from scaling.specs.horizon import cooldown_start, images_before, steps_per_epoch
from scaling.storage import Storage
from scaling.study import expand_study, parse_study
from scaling.train import loop
from scaling.train.batches import nested_batches
from scaling.train.loop import Training

TIMES = {"train_s", "started_at", "ended_at", "epoch_s", "images_per_s", "flops_per_s", "compute_share", "node_use"}
VIT = {"family": "vit", "depth": 2, "heads": 2, "sizes": [8], "training": {"optimizer": "adamw", "lr": 1e-3}}
TINY = {"name": "tiny", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2]}]}
TINY |= {"benchmarks": ["simulated-ventral-stream.IT"]}
CASES = {
    "epochs": TINY
    | {
        "horizons": {"epochs": [1, 2, 4]},
        "data_sizes": [5],
        "training": {"schedule": "wsd", "batch_size": 8, "warmup_epochs": 0.5, "augmentation": "crop_flip", "ema": 0.5},
    },
    "simclr": TINY
    | {
        "horizons": {"epochs": [1, 2]},
        "data_sizes": [4],
        "objective": {"name": "simclr", "hidden": 16, "output": 8},
        "training": {"schedule": "wsd", "batch_size": 10, "cooldown": "linear", "cooldown_epochs": 0.5},
    },
    "data": TINY
    | {
        "models": [VIT],
        "horizons": {"data": [6, 11, 23]},
        "training": {"schedule": "wsd", "batch_size": 8, "warmup_steps": 3, "cooldown_share": 0.4, "drop_path": 0.2},
    },
}


@pytest.fixture
def runs(request):
    return expand_study(parse_study(CASES[request.param]))


def finish(run, data, storage, random_stops: random.Random | None = None) -> None:
    """Train to the end; with `random_stops` killed there before, after any number of steps."""
    while random_stops is not None and random_stops.random() < 0.7:
        training = Training(run, data, storage)
        left, step = random_stops.randrange(1, 40), training.step

        def killed(batch, lr, step=step, left=left, done=[0]):  # noqa: B006
            if done[0] == left:
                raise KeyboardInterrupt
            done[0] += 1
            return step(batch, lr)

        training.step = killed
        try:
            list(training.epochs())
        except KeyboardInterrupt:
            continue
        break
    list(Training(run, data, storage).epochs())


def facts(storage: Storage, run):
    """Records and weights of a run but for times and what it cost."""
    store = ResultsStore(storage)
    record = store.read_run(run.run_id).model_dump(exclude=TIMES | {"flops_spent", "spec"})
    name = layout.weights_name(run.run_id, run.training.epochs)
    tensors = load_tensors(storage, name)[0]
    return record, [row.model_dump(exclude=TIMES) for row in store.read_epochs(run.run_id)], tensors


def assert_equal(one, two) -> None:
    assert one[:2] == two[:2]
    assert all(torch.equal(value, two[2][name]) for name, value in one[2].items())


@pytest.mark.parametrize("runs", CASES, indirect=True)
def test_a_branch_is_the_run_that_it_would_be_alone(runs, digits_data, tmp_path):
    alone, shared = Storage(tmp_path / "alone"), Storage(tmp_path / "shared")
    *branches, trunk = runs
    assert {branch.trunk for branch in branches} == {trunk.run_id}
    for run in runs:
        finish(run.model_copy(update={"trunk": None, "branches": ()}), digits_data, alone)
    for run in reversed(runs):
        finish(run, digits_data, shared)
        assert_equal(facts(alone, run), facts(shared, run))
    assert len(layout.branch_names(shared, trunk.run_id)) == len(branches)
    own, stored = ResultsStore(alone), ResultsStore(shared)
    for run in runs:
        record = stored.read_run(run.run_id)
        n, one = record.n_samples, record.flops / record.samples_seen
        assert own.read_run(run.run_id).flops_spent == record.flops
        assert record.flops_spent == pytest.approx(record.flops - one * run.shared_samples(n))
        assert (run.trunk is None) == (record.flops_spent == record.flops)


@pytest.mark.parametrize("runs", ["epochs", "data"], indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_they_end_in_the_same_bits(runs, digits_data, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(loop, "EPOCH_INTERVAL_S", 0.0)
    monkeypatch.setattr(loop, "STEP_INTERVAL_S", 0.0)
    monkeypatch.setattr(resume, "MOST_OF_TIME", math.inf)
    alone, broken = Storage(tmp_path / "alone"), Storage(tmp_path / "broken")
    stops = random.Random(seed)
    order = sorted(runs, key=lambda run: (run.trunk is not None, stops.random()))
    for run in order:
        finish(run, digits_data, alone)
        finish(run, digits_data, broken, stops)
        assert_equal(facts(alone, run), facts(broken, run))
        spent = [ResultsStore(place).read_run(run.run_id).flops_spent for place in (alone, broken)]
        assert spent[0] == spent[1]


@pytest.mark.parametrize("runs", ["epochs", "data"], indirect=True)
def test_without_its_trunks_state_a_branch_trains_from_the_beginning(runs, digits_data, tmp_path):
    alone, shared = Storage(tmp_path / "alone"), Storage(tmp_path / "shared")
    branch = runs[1]
    finish(branch.model_copy(update={"trunk": None}), digits_data, alone)
    finish(branch, digits_data, shared)
    assert_equal(facts(alone, branch), facts(shared, branch))
    record = ResultsStore(shared).read_run(branch.run_id)
    assert record.flops_spent == record.flops


def test_a_damaged_state_is_set_aside(digits_data, storage):
    *_, branch, trunk = expand_study(parse_study(CASES["epochs"]))
    finish(trunk, digits_data, storage)
    name = layout.branch_names(storage, trunk.run_id)[-1]
    storage.write_bytes(name, b"nothing")
    with pytest.warns(UserWarning, match="begins anew"):
        finish(branch, digits_data, storage)
    record = ResultsStore(storage).read_run(branch.run_id)
    assert (record.status, record.flops_spent) == ("finished", record.flops)
    assert not storage.exists(name)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_nested_order_shows_each_image_once_and_subsets_first(make_run, digits_data, seed, share):
    labels, seen = digits_data.train.labels, {}
    training = {"schedule": "wsd", "order": "nested", "epochs": 1, "batch_size": 8, "cooldown_share": share}
    for images in (3, 7, 20, 50):
        spec = make_run(data_sizes=[images], training=training).training
        subset, rounds = nested_subset(labels, images, seed), nested_rounds(labels, images, seed)
        assert (labels[rounds] == range(10)).all()
        batches = nested_batches(rounds, spec, seed)
        n = len(subset)
        start = cooldown_start(spec, steps_per_epoch(n, 8))
        assert len(batches) == steps_per_epoch(n, 8)
        assert sorted(i for batch in batches for i in batch) == subset.tolist(), "each once"
        assert {len(batch) for batch in batches[:start]} <= {8}
        sizes = [len(batch) for batch in batches[start:]]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= 8
        assert images_before(spec, n, start) == sum(map(len, batches[:start]))
        seen[images] = batches[:start]
    for small, large in ((3, 7), (7, 20), (20, 50)):
        assert all((a == b).all() for a, b in zip(seen[small], seen[large], strict=False))
        assert len(seen[small]) <= len(seen[large])
