"""Runs on two workers, and runs that go on with another number of workers than they began with.

Run as a program, this file is one of two processes: RANK FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed import save_after_every_step, train
from two_workers import be_worker, start_workers

from scaling.checkpoints.tensors import load_tensors
from scaling.data.images import ImageData, ImageSet, load_images
from scaling.layout import resume_name, weights_name
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.distributed.worker import Worker

RESNET = {"family": "resnet", "depth": 10, "sizes": [4]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
COMMON = {"epochs": 2, "optimizer": "sgd", "lr": 0.02, "clip_norm": 1.0}
MIXED = {"augmentation": "crop_flip", "mixup": 0.8, "cutmix": 1.0, "loss": "binary_cross_entropy"}
MIXED["ema_half_life_share"] = 0.07
# batch sizes of 9 give 30 images as 8, 8, 7 and 7, of which two workers hold 4 and 3
CASES: dict[str, dict[str, Any]] = {
    "resnet": {"models": [RESNET], "training": COMMON | MIXED | {"batch_size": 9}},
    "vit": {"models": [VIT], "training": COMMON | {"batch_size": 9, "augmentation": "flip", "policy": "three_augment"}},
    "micro-batches": {"models": [VIT], "training": COMMON | {"batch_size": 15}, "resources": {"micro_batch": 4}},
    "simclr": {"models": [RESNET], "training": COMMON | {"batch_size": 15},
               "objective": {"name": "simclr", "hidden": 16, "output": 8}},
    "dino": {"models": [VIT], "training": COMMON | {"batch_size": 9},
             "objective": {"name": "dino", "local_crops": 1, "hidden": 16, "bottleneck": 8, "prototypes": 12,
                           "teacher_momentum": 0.01}},
    "ffgsm": {"models": [RESNET], "training": COMMON | {"batch_size": 10}, "objective": "ffgsm"},
    "harmonizer": {"models": [RESNET], "training": COMMON | {"batch_size": 9, "augmentation": "crop_flip"},
                   "objective": {"name": "harmonizer", "weight": 2}},
}  # fmt: skip
KILLED_AT = 3  # steps: within the first epoch, or early in the second where an epoch has two


def mapped_digits() -> ImageData:
    """Digits whose maps are their ink."""
    data = load_images(DatasetSpec(name="digits"), Path("no such folder"))
    train = data.train
    maps = np.asarray(train.images).mean(-1).astype(np.float32)
    return ImageData(data.name, ImageSet(train.images, train.labels, maps), data.heldout, data.mean, data.std)


@pytest.fixture(scope="module")
def runs(make_run) -> dict[str, RunSpec]:
    return {name: make_run(data_sizes=[3], checkpoints={"keep": [0]}, **case) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory) -> Path:
    """Two workers have trained every run to its end, and once more up to the step in which they died."""
    folder = tmp_path_factory.mktemp("elastic")
    (folder / "runs.txt").write_text("\n".join(run.model_dump_json() for run in runs.values()))
    start_workers(__file__, folder)
    return folder


def assert_alike(one: Storage, other: Storage, run: RunSpec) -> None:
    """Losses, accuracies and weights of two stores, but for the order in which sums were taken."""
    first, second = (ResultsStore(storage).read_epochs(run.run_id) for storage in (one, other))
    losses = [[record.loss for record in records[1:]] for records in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert [record.accuracy for record in second] == pytest.approx([record.accuracy for record in first], abs=0.02)
    assert [record.samples_seen for record in second] == [record.samples_seen for record in first]
    tensors = load_tensors(one, weights_name(run.run_id, 2))[0]
    for name, value in load_tensors(other, weights_name(run.run_id, 2))[0].items():
        torch.testing.assert_close(value, tensors[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", CASES)
def test_two_workers_train_as_one_and_one_goes_on_where_two_were_killed(runs, folder, name):
    run, data = runs[name], mapped_digits()
    alone, went_on = Storage(folder / "one"), Storage(folder / "killed")
    train(run, data, alone)
    assert went_on.exists(resume_name(run.run_id)), "the two were killed before they saved"
    train(run, data, went_on)
    assert_alike(alone, Storage(folder / "two"), run)
    assert_alike(alone, went_on, run)


def work(rank: int) -> int:
    save_after_every_step()
    folder, data, worker = Path(sys.argv[2]), mapped_digits(), Worker(rank=rank, world=2)
    for line in (folder / "runs.txt").read_text().splitlines():
        run = RunSpec.model_validate_json(line)
        train(run, data, Storage(folder / "two"), worker=worker)
        train(run, data, Storage(folder / "killed"), KILLED_AT, worker)
    return rank


if __name__ == "__main__":
    be_worker(work)
