"""Steps from an epoch's tables against the loop's own: the same bits. They are no graphs here, on a CPU."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from killed import CASES, RESNET, VIT, advance, outcome, save_after_every_step
from timm.layers import DropPath

from scaling.data.image_set import ImageData, ImageSet
from scaling.records import ResultsStore
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.dropping import foreign, own_draws
from scaling.train.loop import Training

COMMON = {"epochs": 3, "batch_size": 7, "optimizer": "adamw", "lr": 1e-3, "clip_norm": 1.0}
# name: family, objective, training; 30 images in batches of 6, but where a batch size says otherwise
TABLED = {
    "plain": (RESNET, "supervised", {"augmentation": "none"}),
    "crops": (RESNET, *CASES["supervised"]),
    "drop path": (VIT, *CASES["supervised"]),
    "averaged": (VIT, *CASES["averaged"]),
    "windows": (RESNET, "supervised", {"augmentation": "resized_crop", "colour_jitter": 0.3}),
    "mixed": (VIT, "supervised", {"augmentation": "resized_crop", "mixup": 0.8, "cutmix": 1.0,
                                  "loss": "soft_cross_entropy", "repeated_augmentation": 2, "precision": "bfloat16"}),
    "mixup": (RESNET, "supervised", {"augmentation": "flip", "mixup": 0.8, "loss": "binary_cross_entropy"}),
    "policy": (RESNET, *CASES["mixed"]),
    "attacked": (RESNET, *CASES["ffgsm"]),
    "harmonizer": (VIT, *CASES["harmonizer"]),
    "simclr": (RESNET, *CASES["simclr"]),
    "flips": (RESNET, "supervised", {"optimizer": "sgd", "nesterov": True, "whiten": True, "augmentation": "crop_flip",
                                     "flips": "alternating"}),
    "sgd": (RESNET, "supervised", {"optimizer": "sgd", "lr": 0.05, "batch_size": 8, "weight_decay": 0.1}),
    "decay": (VIT, "supervised", {"weight_decay": 0.1, "weight_decay_end": 0.4, "warmup_epochs": 1}),
    "lars": (RESNET, "supervised", {"optimizer": "lars", "lr": 0.5, "batch_size": 8}),
    "dropout": ({"family": "alexnet", "sizes": [2]}, "supervised", {"augmentation": "flip"}),
}  # fmt: skip
FED = {"policy", "harmonizer"}  # their batches come from the host
EACH = pytest.mark.parametrize("case", TABLED)


def case_run(make_run, case: str, **changes) -> RunSpec:
    family, objective, training = TABLED[case]
    study = {"models": [family], "data_sizes": [3], "objective": objective, "training": COMMON | training}
    return make_run(**study | {"checkpoints": {"keep": [0, 2]}} | changes)


@pytest.fixture(scope="module")
def data(digits_data) -> ImageData:
    """Digits of which two in three have a map: their ink."""
    maps = digits_data.train.images.mean(-1).astype(np.float32)
    maps[::3] = np.nan
    return replace(digits_data, train=ImageSet(digits_data.train.images, digits_data.train.labels, maps))


def trained(run: RunSpec, data: ImageData, storage: Storage, tabled: bool, kill_at: int | None = None) -> Training:
    training = Training(run, data, storage, tabled=tabled)
    advance(training, kill_at)
    return training


def same(one, other) -> list[str]:
    """The tensors in which two outcomes differ; their facts do not, but for how they were computed."""
    (facts, tensors), (other_facts, others) = one, other
    for record in (facts[0], other_facts[0]):
        record.pop("computing")
    assert facts == other_facts
    assert tensors.keys() == others.keys()
    return [name for name in tensors if not torch.equal(tensors[name], others[name])]


@EACH
def test_steps_from_tables_are_steps_one_by_one(make_run, data, tmp_path, case):
    run = case_run(make_run, case)
    plain, tabled = Storage(tmp_path / "plain"), Storage(tmp_path / "tabled")
    assert trained(run, data, plain, False).tabled is None
    steps = trained(run, data, tabled, True).tabled
    assert (steps.resident is None) == (case in FED)
    assert same(outcome(tabled, run), outcome(plain, run)) == []


@pytest.mark.parametrize("case", ["crops", "mixed", "attacked", "harmonizer", "dropout"])
def test_steps_from_tables_go_on_after_a_kill_at_any_step(make_run, data, tmp_path, monkeypatch, case):
    save_after_every_step(monkeypatch.setattr)
    run = case_run(make_run, case)
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    trained(run, data, whole, False)
    moments = random.Random(case).choices(range(1, 5), k=3)
    for moment in moments:
        trained(run, data, broken, True, moment)
    trained(run, data, broken, True)
    assert same(outcome(broken, run), outcome(whole, run)) == [], moments


REASONS = {
    "dino": ({"objective": {"name": "dino", "teacher_momentum": 0.01}}, "objective dino: its views"),
    "decay": ({"training": {"optimizer": "sgd", "weight_decay_end": 0.1}}, "the weight decay of sgd is a number"),
    "asked": ({"resources": {"captured": False}}, "resources.captured is false"),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_run_whose_steps_cannot_be_captured_says_why(make_run, data, storage, case):
    changes, reason = REASONS[case]
    changes = changes | {"training": {"epochs": 1, "batch_size": 10} | changes.get("training", {})}
    run = make_run(data_sizes=[3], **changes)
    assert trained(run, data, storage, True).tabled is None
    assert json.loads(ResultsStore(storage).read_run(run.run_id).computing)["captured"].startswith(reason)


def test_a_resumed_optimizer_has_the_memory_format_of_its_weights(make_run, data, tmp_path, monkeypatch):
    """Kernels that take many weights at once refuse another."""
    save_after_every_step(monkeypatch.setattr)
    run = make_run(
        models=[RESNET | {"sizes": [16]}], data_sizes=[3], training=COMMON | {"optimizer": "sgd"},
        resources={"channels_last": True},
    )  # fmt: skip
    trained(run, data, Storage(tmp_path), False, kill_at=2)
    training = Training(run, data, Storage(tmp_path))
    next(training.epochs())
    strides = [(p.stride(), state["momentum_buffer"].stride()) for p, state in training.optimizer.state.items()]
    assert all(weight == momentum for weight, momentum in strides)
    assert any(stride[1] == 1 for stride, _ in strides if len(stride) == 4), "channels last"


def test_dropout_and_drop_path_draw_what_torch_and_timm_draw():
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Sequential(DropPath(0.4)), torch.nn.Dropout(0.0))
    ours = copy.deepcopy(theirs)
    draws = own_draws(ours, torch.device("cpu"))
    assert foreign(theirs) == "0 (Dropout)"
    assert foreign(ours) is None
    images = torch.randn(32, 3, 4, 4)
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(7)
        draws.generator.manual_seed(7)
        assert torch.equal(theirs(images.to(dtype)), ours(images.to(dtype)))
    assert torch.equal(ours.eval()(images), images)


def test_images_above_their_share_of_memory_stay_on_the_host(make_run, data, storage, monkeypatch):
    run = case_run(make_run, "crops")
    monkeypatch.setattr("scaling.train.resident.SHARE_OF_MEMORY", 1e-9)
    assert trained(run, data, storage, True).tabled.resident is None
    computing = json.loads(ResultsStore(storage).read_run(run.run_id).computing)
    assert computing["images"].startswith("images take ")
    assert computing["captured"] == "tables alone"


def test_runs_that_see_the_same_images_share_them_on_the_device(make_run, data, tmp_path):
    steps = [
        Training(make_run(data_sizes=[3], seeds=[seed]), data, Storage(tmp_path / str(seed)), tabled=True).tabled
        for seed in (0, 1)
    ]
    assert steps[0].resident.images.data_ptr() == steps[1].resident.images.data_ptr()
