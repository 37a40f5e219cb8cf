"""What a GPU does otherwise than a CPU: its graphs, sums, clock, memory. Skipped, as a whole, on a machine without one.

Run as a program, this file is one of two processes that share the GPU: RANK FOLDER.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import CASES, RESNET, VIT, outcome, save_after_every_step, train
from test_captured import TABLED, same
from two_workers import be_worker, start_workers

from scaling.checkpoints.tensors import load_tensors
from scaling.data.images import ImageData, ImageSet, load_images
from scaling.layout import weights_name
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.distributed.worker import Worker
from scaling.train.feed import Feed
from scaling.train.loop import Training, train_run
from scaling.train.memory import step_memory
from scaling.train.step_timer import StepTimer
from scaling.train.transfer import Transfer

if not torch.cuda.is_available():
    pytest.skip("this machine has no GPU", allow_module_level=True)

GPU = Worker(device="cuda")
WIDE = {"family": "resnet", "depth": 18, "sizes": [64]}
BOTH = pytest.mark.parametrize("family", [RESNET, VIT], ids=["resnet", "vit"])
# Rounding stays small, and nothing is drawn that a device draws by its own generator: dropped paths, erased pixels.
STEADY = {"optimizer": "sgd", "lr": 0.01, "drop_path": 0, "erasing": 0, "precision": "float32"}
EACH = pytest.mark.parametrize("case", CASES)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Convolutions and products in float32, as on a CPU, not in TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr("scaling.train.computing.TF32", False)


def mapped_digits() -> ImageData:
    """Digits whose maps are their ink; two images in three have one."""
    data = load_images(DatasetSpec(name="digits"), Path("no such folder"))
    maps = data.train.images.mean(-1).astype(np.float32)
    maps[::3] = np.nan
    return replace(data, train=ImageSet(data.train.images, data.train.labels, maps))


def large_images(n: int, side: int) -> ImageData:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, side, side, 3), np.uint8)
    both = ImageSet(images, np.arange(n, dtype=np.int64) % 10)
    return ImageData("random", both, both, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))


def case_run(make_run, case: str, family: dict, training: dict | None = None, **changes) -> RunSpec:
    objective, own = CASES[case]
    common = {"epochs": 3, "batch_size": 7, "optimizer": "adamw", "lr": 1e-3, "clip_norm": 1.0}
    training = common | own | (training or {})
    study = {"models": [family], "data_sizes": [3], "objective": objective, "training": training}
    return make_run(**study | {"checkpoints": {"keep": [0, 2]}} | changes)


@EACH
@BOTH
def test_an_epoch_on_a_gpu_has_the_loss_of_a_cpu(make_run, tmp_path, case, family):
    """But for the signs of vanishing gradients (FFGSM)."""
    run, losses = case_run(make_run, case, family, training=STEADY | {"epochs": 2}), {}
    for device in ("cpu", "cuda"):
        epochs = train_run(run, mapped_digits(), Storage(tmp_path / device), Worker(device=device))
        losses[device] = next(record.loss for record in epochs if record.loss is not None)
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=3e-2 if case == "ffgsm" else 1e-3)


@EACH
@BOTH
def test_a_deterministic_run_killed_on_a_gpu_ends_in_the_same_bits(make_run, tmp_path, monkeypatch, case, family):
    save_after_every_step(monkeypatch.setattr)
    run, data = case_run(make_run, case, family, resources={"deterministic": True}), mapped_digits()
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    assert train(run, data, whole, worker=GPU) == 3 * 5
    moments = random.Random(case).choices(range(1, 5), k=3)
    assert [train(run, data, broken, moment, GPU) for moment in moments] == moments
    train(run, data, broken, worker=GPU)
    (facts, tensors), (broken_facts, broken_tensors) = outcome(whole, run), outcome(broken, run)
    assert broken_facts == facts, moments
    assert [name for name in tensors if not torch.equal(tensors[name], broken_tensors[name])] == []


def tabled_run(make_run, case: str, seed: int = 0, **resources) -> RunSpec:
    """Of CPU's own cases; in deterministic mode."""
    family, objective, training = TABLED[case]
    training = {"epochs": 3, "batch_size": 7, "optimizer": "adamw", "lr": 1e-3, "clip_norm": 1.0} | training
    study = {"models": [family], "data_sizes": [3], "objective": objective, "training": training, "seeds": [seed]}
    return make_run(**study, checkpoints={"keep": [0, 2]}, resources={"deterministic": True} | resources)


@pytest.mark.parametrize("case", TABLED)
def test_captured_steps_are_the_uncaptured_ones_bit_for_bit(make_run, tmp_path, case):
    """Of 15 or 12 steps in batches of two sizes at most, each size's first is no graph yet."""
    run, data = tabled_run(make_run, case), mapped_digits()
    graphs, plain = Storage(tmp_path / "graphs"), Storage(tmp_path / "plain")
    training = Training(run, data, graphs, GPU)
    list(training.epochs())
    assert set(training.tabled.graphs._graphs) == training.tabled.graphs._met
    assert json.loads(ResultsStore(graphs).read_run(run.run_id).computing)["captured"] == "yes"
    one_by_one = tabled_run(make_run, case, captured=False)
    assert one_by_one.run_id == run.run_id
    assert Training(one_by_one, data, plain, GPU).tabled is None
    train(one_by_one, data, plain, worker=GPU)
    (facts, tensors), (others, other_tensors) = outcome(graphs, run), outcome(plain, run)
    for record in (facts[0], others[0]):
        record.pop("spec")
    assert same((facts, tensors), (others, other_tensors)) == []


def test_captured_losses_stay_near_the_uncaptured_in_any_mode(make_run, tmp_path):
    losses = []
    for captured in (True, False):
        run = tabled_run(make_run, "crops", deterministic=False, captured=captured)
        epochs = train_run(run, mapped_digits(), Storage(tmp_path / str(captured)), GPU)
        losses.append([record.loss for record in epochs if record.loss is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("cases", [["crops"] * 4, ["sgd", "dropout", "attacked", "mixed", "averaged", "harmonizer"]])
def test_runs_beside_each_other_are_the_runs_alone_bit_for_bit(make_run, tmp_path, cases):
    """A thread and a stream each, which capture while the others compute."""
    data = mapped_digits()
    runs = [tabled_run(make_run, case, seed) for seed, case in enumerate(cases)]
    alone, beside = Storage(tmp_path / "alone"), Storage(tmp_path / "beside")
    errors = []

    def work(run: RunSpec) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                list(Training(run, data, beside, GPU).epochs())
        except Exception as error:  # a thread's would be lost
            errors.append(error)

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for run in runs:
        train(run, data, alone, worker=GPU)
        assert same(outcome(beside, run), outcome(alone, run)) == [], run.label()


def test_rows_come_through_pinned_memory_as_they_are():
    random, transfer = np.random.default_rng(0), Transfer(torch.device("cuda"))
    rows = random.integers(0, 256, (500, 16, 16, 3), np.uint8)
    picks = [random.integers(0, 500, n) for n in (64, 7, 200, 200, 1)]
    found = [transfer.gather(rows, pick) for pick in picks]
    for pick, there in zip(picks, found, strict=True):
        assert np.array_equal(there.cpu().numpy(), rows[pick])


@EACH
def test_batches_made_ahead_on_a_gpu_are_those_made_on_a_cpu(make_run, case):
    run, data = case_run(make_run, case, RESNET, training={"erasing": 0}), mapped_digits()
    feeds = [Feed(run, data, np.arange(30), Worker(device=device), with_maps=True) for device in ("cpu", "cuda")]
    pairs = list(zip(*(feed.batches(1, start=1) for feed in feeds), strict=True))
    assert [here.place for here, _ in pairs] == [(1, step) for step in range(1, 5)]
    for here, there in pairs:
        assert there.place == here.place
        for name in ("images", "labels", "maps", "has_map", "targets"):
            one, other = getattr(here, name), getattr(there, name)
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(other.cpu(), one, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("computing", [{"channels_last": True}, {"compile": True}, {"micro_batch": 4}], ids=str)
def test_settings_of_computing_leave_the_losses(make_run, tmp_path, computing):
    """A ViT: micro-batches would have their own batch-norm statistics."""
    losses = []
    for name, resources in (("plain", {}), ("set", computing)):
        run = case_run(make_run, "supervised", VIT, training=STEADY, resources=resources)
        records = train_run(run, mapped_digits(), Storage(tmp_path / name), GPU)
        losses.append([record.loss for record in records if record.loss is not None])
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)


def test_the_timer_counts_the_gpus_work_inside_and_nothing_outside():
    """A kernel that spins for a given number of the GPU's clock cycles."""
    timer = StepTimer(torch.device("cuda"))
    spin = 200_000_000
    torch.cuda.synchronize()
    began = time.perf_counter()
    torch.cuda._sleep(spin)
    torch.cuda.synchronize()
    one = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(3):
        with timer:
            torch.cuda._sleep(spin)
        torch.cuda._sleep(spin)
    queued = time.perf_counter() - began
    assert timer.take() == pytest.approx(3 * one, rel=0.2)
    assert queued < one, "the timer waited for the GPU"
    assert timer.take() == 0.0


def test_memory_that_runs_out_ends_the_run_and_the_next_one_goes_on(make_run, tmp_path):
    data, storage = large_images(64, 224), Storage(tmp_path)
    big, small = (
        make_run(models=[WIDE], data_sizes=["all"], training={"epochs": 1, "batch_size": 64}, resources=resources)
        for resources in ({}, {"micro_batch": 4})
    )
    need = step_memory(big, 224, 10, 64)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.75 * need / torch.cuda.get_device_properties(0).total_memory)
    try:
        assert list(train_run(big, data, storage, GPU)) == []
        record = ResultsStore(storage).read_run(big.run_id)
        assert record.status == "out_of_memory"
        assert f"{need / 2**30:.2f} GiB" in record.reason
        assert "\n" not in record.reason
        torch.cuda.empty_cache()
        assert [r.epoch for r in train_run(small, data, Storage(tmp_path / "small"), GPU)][-1] == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_the_estimate_of_memory_is_near_what_a_step_takes(make_run, tmp_path):
    """cuDNN's workspaces come on top of it."""
    run = make_run(models=[WIDE], data_sizes=["all"], training={"epochs": 1, "batch_size": 64})
    training = Training(run, large_images(64, 224), Storage(tmp_path), GPU)
    batch = training.load_batch(np.arange(64), (0, 0))
    training.step(batch, 0.01)
    torch.cuda.reset_peak_memory_stats()
    training.step(batch, 0.01)
    assert 1 <= torch.cuda.max_memory_allocated() / step_memory(run, 224, 10, 64) <= 1.5


@EACH
def test_two_workers_on_a_gpu_have_the_losses_of_one(make_run, tmp_path_factory, tmp_path, case):
    folder = tmp_path_factory.mktemp("two")
    training = STEADY | {"epochs": 1, "batch_size": 15}
    run = case_run(make_run, case, RESNET, training=training, checkpoints={"keep": [0]})
    (folder / "run.txt").write_text(run.model_dump_json())
    start_workers(__file__, folder)
    train(run, mapped_digits(), Storage(tmp_path), worker=GPU)
    one, two = (ResultsStore(storage).read_epochs(run.run_id) for storage in (Storage(tmp_path), Storage(folder)))
    assert [r.loss for r in two if r.epoch] == pytest.approx(
        [r.loss for r in one if r.epoch], rel=1e-2 if case == "ffgsm" else 1e-4
    )
    tensors, others = (
        load_tensors(storage, weights_name(run.run_id, 1))[0] for storage in (Storage(tmp_path), Storage(folder))
    )
    for name, value in tensors.items():
        torch.testing.assert_close(others[name], value, rtol=1e-2, atol=1e-3, msg=name)


def work(rank: int) -> int:
    torch.backends.cudnn.allow_tf32 = False
    folder = Path(sys.argv[2])
    run = RunSpec.model_validate_json((folder / "run.txt").read_text())
    train(run, mapped_digits(), Storage(folder), worker=Worker(rank=rank, world=2, device="cuda"))
    return rank


if __name__ == "__main__":
    be_worker(work)
