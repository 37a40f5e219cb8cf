"""Runs that die in a given step, and all that a run leaves behind."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import torch

from scaling.checkpoints import resume
from scaling.checkpoints import weights as checkpoint
from scaling.data.images import ImageData
from scaling.records import ResultsStore
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train import loop
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training

TIMES = {"train_s", "epoch_s", "started_at", "ended_at", "images_per_s", "flops_per_s", "compute_share", "node_use"}

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
PLAIN = {"augmentation": "crop_flip", "ema": 0.7, "drop_path": 0.2}
MIXED = {"augmentation": "resized_crop", "mixup": 0.8, "cutmix": 1.0, "loss": "soft_cross_entropy", "erasing": 0.25}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "supervised": ("supervised", PLAIN),
    "averaged": ("supervised", {"augmentation": "flip", "ema_half_life_share": 0.07, "warmup_epochs": 0.5}),
    "mixed": ("supervised", MIXED | {"policy": "randaugment", "repeated_augmentation": 2, "precision": "bfloat16"}),
    "simclr": ({"name": "simclr", "hidden": 16, "output": 8}, {}),
    "dino": ({"name": "dino", "local_crops": 2, "hidden": 16, "bottleneck": 8, "prototypes": 12,
              "teacher_momentum": 0.01}, {}),
    "ffgsm": ({"name": "ffgsm", "epsilon": 8}, {"augmentation": "flip"}),
    "harmonizer": ({"name": "harmonizer", "weight": 10}, {"augmentation": "crop_flip"}),
}  # fmt: skip  # objective and training, one at least of every objective


class KilledError(Exception):
    """Stands for the end of the process."""


def train(
    run: RunSpec, data: ImageData, storage: Storage, kill_at: int | None = None, worker: Worker | None = None
) -> int:
    """Train to the end, or die in step `kill_at` of this attempt; the number of steps taken."""
    return advance(Training(run, data, storage, worker), kill_at)


def advance(training: Training, kill_at: int | None = None) -> int:
    """Train to the end, or die in step `kill_at` of this attempt; the number of steps taken."""
    steps, real_step = 0, training.step

    def step(batch, lr):
        nonlocal steps
        if steps == kill_at:
            raise KilledError
        steps += 1
        return real_step(batch, lr)

    training.step = step  # type: ignore[method-assign]
    with suppress(KilledError):
        list(training.epochs())
    return steps


def save_after_every_step(set_value=setattr) -> None:
    """From now on; pytest's monkeypatch.setattr takes it back after a test."""
    for module, name, value in (
        (loop, "EPOCH_INTERVAL_S", 0.0), (loop, "STEP_INTERVAL_S", 0.0), (loop, "STEPS_A_VOTE", 1),
        (resume, "MOST_OF_TIME", math.inf),
    ):  # fmt: skip
        set_value(module, name, value)


def outcome(storage: Storage, run: RunSpec) -> tuple[list[object], dict[str, torch.Tensor]]:
    """All facts of a run but its times, and the weights of every epoch that it kept."""
    store = ResultsStore(storage)
    records = [store.read_run(run.run_id), *store.read_epochs(run.run_id)]
    tensors = {
        f"{epoch} {name}": tensor
        for epoch in run.keep_epochs
        for name, tensor in checkpoint.load_tensors(storage, checkpoint.weights_name(run.run_id, epoch))[0].items()
    }
    return [record.model_dump(exclude=TIMES) for record in records], tensors
