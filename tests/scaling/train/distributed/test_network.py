"""Every objective on two workers, with DistributedDataParallel, against one process with the whole batches; in float64,
where rounding cannot hide a difference.

Run as a program, this file is one of the two workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from two_workers import WORLD, be_worker, start_workers

from scaling.models import build_model, candidate_layers
from scaling.specs.model import ModelSpec
from scaling.specs.objective import objective_spec, read_objective
from scaling.specs.training import TrainingSpec
from scaling.train.batch import Batch, Setting
from scaling.train.distributed.gather import average_gradients
from scaling.train.distributed.network import Penultimate, network_features
from scaling.train.distributed.sync_norm import WorkersBatchNorm
from scaling.train.objectives import dino, simclr
from scaling.train.objectives.base import Objective
from scaling.train.objectives.registry import OBJECTIVES
from scaling.train.objectives.views import View, make_view
from scaling.train.wrap import wrap_network

SIDE, STEPS, CLASSES = 8, 3, 10
MODELS = {
    "resnet": ModelSpec(family="resnet", depth=10, size=4),
    "vit": ModelSpec(family="vit", depth=2, heads=3, size=12),
    "efficientnet": ModelSpec(family="efficientnet", depth=7, size=25),
}
SIMCLR = {"name": "simclr", "hidden": 16, "output": 8}
DINO = {
    "name": "dino", "local_crops": 2, "hidden": 16, "bottleneck": 8, "prototypes": 12, "frozen_epochs": 1,
    "teacher_temperature": 0.07, "temperature_warmup_epochs": 2, "teacher_momentum": 0.9,
}  # fmt: skip
GIVEN = {"supervised": "supervised", "simclr": SIMCLR, "dino": DINO, "ffgsm": "ffgsm", "harmonizer": "harmonizer"}
SIZES = {"even": 8, "uneven": 7}
CASES = [(name, model, size) for name in ("simclr", "dino") for model in ("resnet", "vit") for size in SIZES]
CASES += [(name, "resnet", "uneven") for name in ("supervised", "ffgsm", "harmonizer")]
CASES += [("simclr", "efficientnet", "uneven")]


def float32_view(batch: Batch, view: View, index: int, setting: Setting) -> torch.Tensor:
    """Views are made in float32, whatever follows."""
    setting = replace(setting, mean=setting.mean.float(), std=setting.std.float())
    return make_view(replace(batch, images=batch.images.float()), view, index, setting).double()


@contextmanager
def in_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(dino, "make_view", float32_view), mock.patch.object(simclr, "make_view", float32_view):
            yield
    finally:
        torch.set_default_dtype(before)


def make(name: str, model: str) -> tuple[nn.Module, Objective]:
    torch.manual_seed(0)
    spec = MODELS[model]
    network = build_model(spec, SIDE, CLASSES).train()
    ones = torch.ones(1, 3, 1, 1)
    training = TrainingSpec(epochs=4)
    setting = Setting(
        options=objective_spec(read_objective(GIVEN[name])), training=training, seed=5,
        layer=candidate_layers(spec, network)[-1], image_size=SIDE, steps_per_epoch=1, mean=0.5 * ones, std=0.25 * ones,
    )  # fmt: skip
    return network, OBJECTIVES[name](setting, network).train()


def batch_of(n: int, step: int, share: slice) -> Batch:
    """Simulated images of which `share` is here."""
    drawn = torch.Generator().manual_seed(step)
    images, maps = torch.rand(n, 3, SIDE, SIDE, generator=drawn), torch.rand(n, SIDE, SIDE, generator=drawn)
    labels, has_map = torch.randint(CLASSES, (n,), generator=drawn), torch.arange(n) % 3 > 0
    images = (images - 0.5) / 0.25
    return Batch(images[share], labels[share], (step, 0), share, n, maps[share], has_map[share])


@in_float64()
def train(name: str, model: str, size: str, rank: int = 0, world: int = 1) -> dict[str, Any]:
    """Three steps as the loop takes them; the share's losses and all that was trained or followed."""
    network, objective = make(name, model)
    wrapped = wrap_network(network, objective, world)
    trained = [p for module in (network, objective) for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=0.01)
    n, losses = SIZES[size], []
    for step in range(STEPS):
        optimizer.zero_grad()
        batch = objective.with_noise(batch_of(n, step, slice(rank, None, world)))
        loss = objective.loss(wrapped, batch)
        (loss * (world / n)).backward()
        average_gradients(objective.parameters())
        optimizer.step()
        objective.after_step(network, step)
        losses.append(loss.detach())
    norms = sum(isinstance(module, WorkersBatchNorm) for part in (network, objective) for module in part.modules())
    return {
        "losses": torch.stack(losses), "model": network.state_dict(), "objective": objective.state_dict(),
        "norms": norms, "kept": objective.evaluated(network).state_dict(), "trained": len(trained),
    }  # fmt: skip


def work(rank: int) -> dict[str, Any]:
    found = {"-".join(case): train(*case, rank, WORLD) for case in CASES}
    network, objective = make("simclr", "resnet")
    wrapped = wrap_network(network, objective, WORLD)
    assert isinstance(wrapped, DistributedDataParallel)
    assert isinstance(wrapped.module, Penultimate)
    network.eval()
    images = batch_of(4, 0, slice(None)).images
    features = network_features(wrapped, objective.setting.layer, images)
    found["features"] = torch.equal(features, objective.features(network, images))
    found["frozen"] = [name for name, p in network.named_parameters() if not p.requires_grad]
    return found


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return start_workers(__file__, tmp_path_factory.mktemp("network"))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_workers_train_as_one(workers, case):
    """The sum of their losses is the one's; parameters, running statistics, teacher and centre follow."""
    one, both = train(*case), [worker["-".join(case)] for worker in workers]
    torch.testing.assert_close(both[0]["losses"] + both[1]["losses"], one["losses"], rtol=1e-9, atol=0)
    for part in ("model", "objective", "kept"):
        assert list(both[0][part]) == list(one[part])
        for name, value in one[part].items():
            assert torch.equal(both[0][part][name], both[1][part][name]), name
            torch.testing.assert_close(both[0][part][name], value, rtol=1e-7, atol=1e-10, msg=f"{part}.{name}")
    assert (both[0]["norms"] > 0) == any("running_mean" in key for key in one["model"] | one["objective"])
    assert one["norms"] == 0
    assert both[0]["trained"] == one["trained"], "an optimizer's state fits any number of workers"


def test_distributed_data_parallel_sees_the_penultimate_layer_alone(workers):
    assert all(worker["features"] and worker["frozen"] == [] for worker in workers)


def test_one_worker_trains_the_model_itself():
    network, objective = make("dino", "resnet")
    names = [type(module) for module in network.modules()]
    assert wrap_network(network, objective, 1) is network
    assert [type(module) for module in network.modules()] == names


if __name__ == "__main__":
    be_worker(work)
