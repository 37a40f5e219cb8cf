"""The training loop against a hand-written one, against itself interrupted, and on two processes.

Run as a program, this file is one of the two processes: RANK FOLDER.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import distributed, nn

from scaling.checkpoints import resume
from scaling.checkpoints import weights as checkpoint
from scaling.data.images import load_images
from scaling.data.subsets import nested_subset
from scaling.errors import StudyError
from scaling.models import build_model
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.horizon import steps_per_epoch
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train import loop
from scaling.train.batches import epoch_batches
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}

TIMES = {"train_s", "epoch_s", "started_at", "ended_at", "images_per_s", "flops_per_s", "compute_share", "node_use"}


def train(run: RunSpec, data, storage: Storage, stop_after: int | None = None) -> int:
    """Train, or stop after some epochs as a killed process does; the number of epochs that were trained."""
    n_records = 0
    for _ in Training(run, data, storage).epochs():
        n_records += 1
        if n_records == stop_after:
            break
    return n_records


def weights(storage: Storage, run: RunSpec, epoch: int) -> dict[str, torch.Tensor]:
    return checkpoint.load_tensors(storage, checkpoint.weights_name(run.run_id, epoch))[0]


def facts(storage: Storage, run: RunSpec) -> list[dict[str, object]]:
    """All records of a run but for their times."""
    store = ResultsStore(storage)
    records = [store.read_run(run.run_id), *store.read_epochs(run.run_id)]
    return [record.model_dump(exclude=TIMES) for record in records]


def normalised(images: np.ndarray, data) -> torch.Tensor:
    values = (images / 255 - np.array(data.mean)) / np.array(data.std)
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous().float()


def train_by_hand(run: RunSpec, data) -> tuple[nn.Module, list[float]]:
    """The same training with torch's own parts: SGD, LinearLR then CosineAnnealingLR, CrossEntropyLoss."""
    spec = run.training
    subset = nested_subset(data.train.labels, run.images_per_class, run.seed)
    torch.manual_seed(run.seed)
    model = build_model(run.model, data.image_size, data.n_classes)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name not in ("pos_embed", "cls_token")]
    others = [p for p in model.parameters() if not any(p is q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    warmup = spec.warmup_epochs * (steps := steps_per_epoch(len(subset), spec.batch_size))
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.epochs * steps - warmup, spec.min_lr)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [linear, cosine], [warmup])
    criterion, losses = nn.CrossEntropyLoss(label_smoothing=spec.label_smoothing), []
    for epoch in range(spec.epochs):
        seen = 0.0
        for batch in epoch_batches(len(subset), spec.batch_size, run.seed, epoch):
            images = normalised(data.train.images[subset[batch]], data)
            loss = criterion(model(images), torch.from_numpy(data.train.labels[subset[batch]]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)
            optimizer.step()
            scheduler.step()
            seen += loss.item() * len(batch)
        losses.append(seen / len(subset))
    return model, losses


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("family", [RESNET, VIT], ids=["resnet", "vit"])
def test_training_is_what_torchs_own_parts_do(make_run, digits_data, storage, family):
    training = {"epochs": 3, "batch_size": 12, "warmup_epochs": 1, "min_lr": 1e-3, "lr": 0.05}
    training |= {"label_smoothing": 0.1, "clip_norm": 2.0, "weight_decay": 0.1}
    run = make_run(models=[family], data_sizes=[5], training=training)
    train(run, digits_data, storage)
    model, losses = train_by_hand(run, digits_data)
    assert [r.loss for r in ResultsStore(storage).read_epochs(run.run_id)] == pytest.approx(losses, rel=1e-4)
    saved = weights(storage, run, 3)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_records_hold_the_closed_forms(make_run, digits_data, storage):
    """D = epochs x n_samples, C = 3 x flops x D; the forward FLOPs are those of the hand count in test_models."""
    run = make_run(data_sizes=[3], training={"epochs": 4, "batch_size": 8}, checkpoints={"keep": [2], "score": [0]})
    train(run, digits_data, storage)
    record = ResultsStore(storage).read_run(run.run_id)
    epochs = ResultsStore(storage).read_epochs(run.run_id)
    assert (record.n_samples, record.samples_seen, record.epochs_done, record.image_size) == (30, 120, 4, 8)
    assert (record.flops_per_image, record.flops, record.status) == (37952, 3 * 37952 * 120, "finished")
    assert record.kept_epochs == "[0, 2, 4]"
    assert [(e.epoch, e.samples_seen, e.flops) for e in epochs] == [(i, 30 * i, 3 * 37952 * 30 * i) for i in range(5)]
    assert [e.epoch for e in epochs if e.accuracy is not None] == [0, 2, 4]
    assert (record.loss, record.accuracy) == (epochs[-1].loss, epochs[-1].accuracy)
    assert record.train_s == pytest.approx(sum(e.epoch_s for e in epochs))


def test_accuracy_is_that_of_the_saved_weights(make_run, digits_data, storage):
    run = make_run(data_sizes=[40], training={"epochs": 5, "batch_size": 20}, checkpoints={"keep": [0, 3]})
    train(run, digits_data, storage)
    recorded = {e.epoch: e.accuracy for e in ResultsStore(storage).read_epochs(run.run_id) if e.accuracy is not None}
    for epoch in (0, 3, 5):
        model, info = checkpoint.load_weights(storage, run.run_id, epoch)
        with torch.inference_mode():
            guesses = model(normalised(digits_data.heldout.images, digits_data)).argmax(1)
        assert recorded[epoch] == info.accuracy == accuracy_score(digits_data.heldout.labels, guesses)
        assert (info.samples_seen, info.epoch, info.mean) == (400 * epoch, epoch, digits_data.mean)
    assert recorded[5] > 0.3 > recorded[0], "a tenth is chance"


CASES = {
    "resnet sgd": ([RESNET], {"lr": 0.1, "augmentation": "crop_flip", "warmup_epochs": 1}),
    "vit adamw": ([VIT], {"lr": 1e-3, "optimizer": "adamw", "clip_norm": 1.0}),
    "vit adamw mup": ([VIT | {"parametrization": "mup"}], {"lr": 1e-3, "optimizer": "adamw", "weight_decay": 0.1}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("interval_s", [0.0, 1e9], ids=["every epoch saved", "nothing saved"])
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(
    make_run, digits_data, tmp_path, monkeypatch, case, interval_s
):
    monkeypatch.setattr(loop, "EPOCH_INTERVAL_S", interval_s)
    monkeypatch.setattr(resume, "MOST_OF_TIME", math.inf)
    models, changes = CASES[case]
    checkpoints = {"keep": [0, 3], "score": ["last"]}
    run = make_run(models=models, training={"epochs": 6, "batch_size": 7} | changes, checkpoints=checkpoints)
    whole = Storage(tmp_path / "whole")
    assert train(run, digits_data, whole) == 7
    for seed in range(3):
        broken = Storage(tmp_path / f"broken-{seed}")
        moments = random.Random(seed).choices(range(1, 5), k=3)
        for moment in moments:
            train(run, digits_data, broken, stop_after=moment)
        train(run, digits_data, broken)
        assert facts(broken, run) == facts(whole, run), moments
        for epoch in run.keep_epochs:
            tensors = weights(broken, run, epoch)
            assert all(torch.equal(tensors[name], value) for name, value in weights(whole, run, epoch).items()), moments
        assert broken.names(f"checkpoints/{run.run_id}") == whole.names(f"checkpoints/{run.run_id}")


def test_a_resumed_run_trains_only_what_is_left(make_run, digits_data, storage, monkeypatch):
    monkeypatch.setattr(loop, "EPOCH_INTERVAL_S", 0.0)
    monkeypatch.setattr(resume, "MOST_OF_TIME", math.inf)
    run = make_run(training={"epochs": 6, "batch_size": 10})
    train(run, digits_data, storage, stop_after=2)  # stopped inside the second epoch's report: it is saved
    assert [record.epoch for record in Training(run, digits_data, storage).epochs()] == [3, 4, 5, 6]


def test_a_finished_run_is_not_trained_again(make_run, digits_data, storage):
    run = make_run()
    assert train(run, digits_data, storage) == 2
    before = facts(storage, run)
    assert train(run, digits_data, storage) == 0
    assert facts(storage, run) == before
    assert storage.names(f"checkpoints/{run.run_id}") == ["epoch-00002.safetensors"], "no resume file is left"


def test_the_images_are_as_they_were(make_run, digits_data, storage):
    before = digits_data.train.images.copy(), digits_data.heldout.images.copy()
    train(make_run(training={"batch_size": 5, "augmentation": "crop_flip"}), digits_data, storage)
    assert np.array_equal(before[0], digits_data.train.images)
    assert np.array_equal(before[1], digits_data.heldout.images)


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"epochs": 5, "batch_size": 10, "lr": 1e18}, "loss became nan in epoch 1 at lr="),
        ({"epochs": 5, "batch_size": 20, "lr": 1e38, "weight_decay": 1e10}, "a weight became infinite in epoch 1"),
    ],
    ids=["loss", "last step"],
)
def test_a_diverged_run_says_why_and_keeps_only_what_is_sound(make_run, digits_data, storage, training, reason):
    run = make_run(models=[VIT], training=training, checkpoints={"keep": [0, 1, 2]})
    records = list(Training(run, digits_data, storage).epochs())
    assert [record.epoch for record in records] == [0, 1]
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.status, record.epochs_done, record.samples_seen, record.kept_epochs) == ("diverged", 0, 0, "[0]")
    assert reason in record.reason
    assert "lower training.lr" in record.reason
    assert storage.names(f"checkpoints/{run.run_id}") == ["epoch-00000.safetensors"]
    assert train(run, digits_data, storage) == 0, "started again, it would diverge again"


def test_batches_too_small_for_the_workers_are_refused(make_run, digits_data, storage):
    run = make_run(training={"batch_size": 4}, data_sizes=[1], resources={"workers": 2})
    with pytest.raises(StudyError, match=r"batch_size=4 on 10 images leaves 2 workers fewer than 2 .*lower resources"):
        Training(run, digits_data, storage, Worker(world=2))


@pytest.fixture
def two_worker_runs(make_run) -> list[RunSpec]:
    """Even batches; and 30 images in batches of 8, 8, 7 and 7, of which two workers hold 4 and 3."""
    common = {"epochs": 3, "optimizer": "adamw", "lr": 1e-3, "augmentation": "crop_flip", "clip_norm": 1.0}
    grids = [(2, 10), (3, 9)]
    return [
        make_run(models=[VIT], data_sizes=[n], training=common | {"batch_size": batch}, checkpoints={"keep": [0]})
        for n, batch in grids
    ]


def test_two_processes_train_as_one(two_worker_runs, digits_data, tmp_path):
    (tmp_path / "runs.txt").write_text("\n".join(run.model_dump_json() for run in two_worker_runs))
    command = [sys.executable, __file__]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in (0, 1)]
    errors = [worker.communicate(timeout=120)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    one, two = Storage(tmp_path / "one"), Storage(tmp_path / "two")
    for run in two_worker_runs:
        train(run, digits_data, one)
        for single, double in zip(facts(one, run), facts(two, run), strict=True):
            numbers = {key: value for key, value in single.items() if isinstance(value, float)}
            assert {key: double[key] for key in numbers} == pytest.approx(numbers, rel=1e-5)
            assert {**double, **numbers} == single
        for name, value in weights(one, run, 3).items():
            # AdamW divides by the gradient's own size, so that rounding shows where it is almost 0: a tenth of a step
            torch.testing.assert_close(weights(two, run, 3)[name], value, rtol=1e-4, atol=1e-4, msg=name)


def be_worker(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    data = load_images(DatasetSpec(name="digits"), folder)
    for line in (folder / "runs.txt").read_text().splitlines():
        run = RunSpec.model_validate_json(line)
        for _ in Training(run, data, Storage(folder / "two"), Worker(rank=rank, world=2)).epochs():
            pass
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    be_worker(int(sys.argv[1]), Path(sys.argv[2]))
