"""Runs of every objective: counted, shared by two processes, started from other runs' weights.

Run as a program, this file is one of two processes: RANK FOLDER.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from scaling.alignment.metrics.saliency import human_alignment, reduce_channels
from scaling.checkpoints.tensors import load_tensors
from scaling.checkpoints.weights import load_weights
from scaling.cluster.plan import plan_run
from scaling.data.images import ImageData, ImageSet, load_images
from scaling.errors import StudyError
from scaling.layout import weights_name
from scaling.models.cost import model_cost, training_flops
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.objective import objective_spec, read_objective
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.batch import penultimate
from scaling.train.batches import to_input
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training
from scaling.train.objectives.harmonizer import saliency_gradient
from scaling.train.objectives.readout import fit_readout

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
SHORT = {"teacher_momentum": 0.01}  # of a training of few steps
OBJECTIVES = {
    "supervised": "supervised",
    "simclr": {"name": "simclr", "hidden": 16, "output": 8},
    "dino": {"name": "dino", "local_crops": 2, "hidden": 16, "bottleneck": 8, "prototypes": 12} | SHORT,
    "ffgsm": {"name": "ffgsm", "epsilon": 8},
    "harmonizer": {"name": "harmonizer", "weight": 10},
}
OWN_VIEWS = ("simclr", "dino")
TIMES = {"train_s", "epoch_s", "started_at", "ended_at", "images_per_s", "flops_per_s", "compute_share", "node_use"}


def train(run: RunSpec, data: ImageData, storage: Storage) -> None:
    list(Training(run, data, storage).epochs())


def weights(storage: Storage, run: RunSpec, epoch: int) -> dict[str, torch.Tensor]:
    return load_tensors(storage, weights_name(run.run_id, epoch))[0]


def facts(storage: Storage, run: RunSpec) -> list[dict[str, object]]:
    store = ResultsStore(storage)
    records = [store.read_run(run.run_id), *store.read_epochs(run.run_id)]
    return [record.model_dump(exclude=TIMES) for record in records]


class FlopCounter(TorchDispatchMode):
    """What torch.utils.flop_counter counts, without its module hooks, which refuse autograd.grad inside a step."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=output) if count else 0
        return output


@pytest.mark.parametrize("family", [RESNET | {"sizes": [16]}, VIT | {"sizes": [48]}], ids=["resnet", "vit"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_flops_are_those_of_a_real_step(make_run, build, make_batch, mapped_data, family, name):
    """By torch's own counts, to 6 %: heads and the first layer's input gradient, where the two differ, are small."""
    tiny_heads = {"simclr": {"hidden": 2, "output": 2}, "dino": {"hidden": 2, "bottleneck": 2, "prototypes": 2} | SHORT}
    run = make_run(models=[family], objective={"name": name, **tiny_heads.get(name, {})})
    model, objective = build(run)
    batch = objective.with_noise(make_batch(6))
    with FlopCounter() as counter, sdpa_kernel(SDPBackend.MATH):
        objective.loss(model, batch).backward()
    forward = model_cost(run.model, mapped_data.image_size, mapped_data.n_classes).flops_per_image
    passes = objective_spec(run.objective).passes
    assert counter.total / (6 * forward) == pytest.approx(passes, rel=0.06)
    assert training_flops(forward, 6, passes) == passes * forward * 6


def test_records_count_the_objectives_passes(make_run, mapped_data, storage):
    run = make_run(objective=OBJECTIVES["dino"], training={"epochs": 2, "batch_size": 10})
    train(run, mapped_data, storage)
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.samples_seen, record.flops) == (40, (4 * 3 + 2) * record.flops_per_image * 40)
    _, info = load_weights(storage, run.run_id, 2)
    assert info.flops == record.flops
    assert ResultsStore(storage).read_epochs(run.run_id)[-1].flops == record.flops


def test_dino_keeps_its_teacher(make_run, mapped_data, storage):
    run = make_run(objective=OBJECTIVES["dino"], training={"epochs": 2, "batch_size": 10})
    training = Training(run, mapped_data, storage)
    list(training.epochs())
    saved, teacher = weights(storage, run, 2), training.objective.teacher.state_dict()
    assert all(torch.equal(saved[name], value) for name, value in teacher.items())
    assert not torch.equal(saved["conv1.weight"], training.model.conv1.weight)


@pytest.mark.parametrize("name", OWN_VIEWS)
def test_self_supervised_accuracy_is_a_readouts(make_run, mapped_data, storage, name):
    """Of the saved weights, fitted to the subset; the classifier stays as it was drawn."""
    training = {"epochs": 4, "batch_size": 50, "optimizer": "adamw", "lr": 1e-3}
    run = make_run(models=[VIT], objective=OBJECTIVES[name], data_sizes=[20], training=training)
    trainer = Training(run, mapped_data, storage)
    drawn = trainer.model.head.weight.clone()
    list(trainer.epochs())
    model, info = load_weights(storage, run.run_id, 4)

    def features(images: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return penultimate(model, "fc_norm", to_input(images, mapped_data.mean, mapped_data.std, trainer.device))

    train_set, heldout = mapped_data.train, mapped_data.heldout
    labels = torch.from_numpy(train_set.labels[trainer.subset])
    readout = fit_readout([(features(train_set.images[trainer.subset]), labels)], 10)
    classes = readout.predict(features(heldout.images.copy()))
    accuracy = float(np.mean(classes.numpy() == heldout.labels))
    assert ResultsStore(storage).read_run(run.run_id).accuracy == info.accuracy == accuracy
    assert accuracy > 0.4, "a tenth is chance"
    assert torch.equal(model.head.weight, drawn)


def test_a_map_is_cropped_and_flipped_with_its_image(make_run, mapped_data, storage):
    train_set = mapped_data.train
    maps = train_set.images[..., 0].astype(np.float32) / 255
    data = replace(mapped_data, train=ImageSet(train_set.images, train_set.labels, maps))
    run = make_run(objective="harmonizer", training={"augmentation": "crop_flip", "epochs": 1, "batch_size": 10})
    training = Training(run, data, storage)
    batch = training.load_batch(np.arange(40), (0, 0))
    seen = batch.images[:, 0] * data.std[0] + data.mean[0]
    inside = batch.maps > 0  # padding is the mean in images and nothing in maps
    torch.testing.assert_close(seen[inside], batch.maps[inside], atol=1e-5, rtol=1e-5)
    assert bool(batch.has_map.all())
    assert not np.allclose(batch.maps, maps[:40])


def test_images_without_a_map_are_told_apart(make_run, mapped_data, storage):
    training = Training(make_run(objective="harmonizer"), mapped_data, storage)
    batch = training.load_batch(np.arange(6), (0, 0))
    assert batch.has_map.tolist() == [False, True, True, False, True, True]
    assert bool(batch.maps.isfinite().all())


BAD_MAPS = {
    "shape": (np.zeros((4, 8, 8), np.float32), r"maps of shape \(4, 8, 8\) beside images of \(5, 8, 8\)"),
    "partly": (np.where(np.arange(320).reshape(5, 8, 8) == 70, np.nan, 0.0), r"map of image 1 has pixels"),
    "infinite": (np.where(np.arange(320).reshape(5, 8, 8) == 200, np.inf, 0.0), r"map of image 3 has pixels"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_maps_that_are_not_the_images_own_are_refused(case):
    maps, message = BAD_MAPS[case]
    with pytest.raises(StudyError, match=message):
        ImageSet(np.zeros((5, 8, 8, 3), np.uint8), np.zeros(5, np.int64), maps)


def test_an_attack_stays_in_its_ball_and_raises_the_loss(make_run, build, make_batch, mapped_data):
    """To the bounds of the ball and of the pixels; stronger than its own random start; another one every step."""
    model, objective = build(make_run(models=[VIT], objective={"name": "ffgsm", "epsilon": 16}))
    batch = objective.with_noise(make_batch(40))
    attacked = objective.attack(model, batch)
    mean, std = objective.setting.mean, objective.setting.std
    pixels, before = attacked * std + mean, batch.images * std + mean
    assert float((pixels - before).abs().max()) == pytest.approx(16 / 255, rel=1e-4)
    assert float(pixels.min()) > -1e-5
    assert float(pixels.max()) < 1 + 1e-5
    clean, worse = (objective.classification_loss(model(x), batch).item() for x in (batch.images, attacked))
    assert worse > clean
    assert not torch.equal(attacked, objective.attack(model, objective.with_noise(replace(batch, place=(0, 1)))))
    assert torch.equal(attacked, objective.attack(model, objective.with_noise(batch)))


@pytest.mark.parametrize("how", ["study", "file"])
def test_fine_tuning_starts_from_the_twins_weights(make_run, mapped_data, tmp_path, how):
    base, tuned = Storage(tmp_path / "base"), Storage(tmp_path / "tuned")
    twin = make_run(seeds=[3], training={"epochs": 3, "batch_size": 10})
    train(twin, mapped_data, base)
    name = weights_name(twin.run_id, 3)
    start = str(tmp_path / "base") + ("" if how == "study" else f"/{name}")
    run = make_run(seeds=[3], objective={"name": "ffgsm", "start_from": start}, checkpoints={"keep": [0]})
    train(run, mapped_data, tuned)
    saved = weights(tuned, run, 0)
    assert all(torch.equal(saved[key], value) for key, value in weights(base, twin, 3).items())
    assert not torch.equal(weights(tuned, run, 2)["fc.weight"], saved["fc.weight"])


@pytest.mark.parametrize("name", ["simclr", "dino", "ffgsm", "harmonizer"])
def test_a_plan_counts_and_times_the_objective(make_run, mapped_data, name):
    """Also where the weights to start from are not there yet."""
    objective = {**objective_spec(read_objective(OBJECTIVES[name])).model_dump(), "start_from": "/not/there/yet"}
    run = make_run(objective=objective)
    planned = plan_run(run, mapped_data, None)
    forward = model_cost(run.model, mapped_data.image_size, mapped_data.n_classes).flops_per_image
    assert planned.flops == training_flops(forward, 40, objective_spec(run.objective).passes)
    assert planned.train_s > 0


def test_what_cannot_be_started_from_is_refused(make_run, mapped_data, storage, tmp_path):
    twin = make_run()
    train(twin, mapped_data, Storage(tmp_path / "base"))

    def start(where: str, **changes) -> None:
        run = make_run(objective={"name": "ffgsm", "start_from": where}, **changes)
        with pytest.raises(StudyError) as caught:
            Training(run, mapped_data, storage)
        messages.append(str(caught.value))

    messages: list[str] = []
    start(str(tmp_path / "base"), seeds=[1])
    start(str(tmp_path / "base" / weights_name(twin.run_id, 2)), models=[RESNET | {"sizes": [4]}])
    start(str(tmp_path / "none.safetensors"))
    assert "has no finished supervised run of resnet-10 w2, 2 images/class, seed 1" in messages[0]
    assert "do not fit resnet-10 w4" in messages[1]
    assert "cannot be read" in messages[2]


def planted_alignment(storage: Storage, run: RunSpec, data: ImageData) -> float:
    """Human alignment of a run's saliency with the held-out images' planted maps."""
    model, _ = load_weights(storage, run.run_id, run.training.epochs)
    images = data.heldout
    pixels = to_input(images.images.copy(), data.mean, data.std, torch.device("cpu")).requires_grad_()
    gradients = saliency_gradient(model(pixels), torch.from_numpy(images.labels.copy()), pixels)
    return human_alignment(reduce_channels(gradients), images.images.mean(-1), ceiling=1.0).score


def test_a_harmonized_twin_gains_alignment_with_planted_maps(make_run, mapped_data, tmp_path):
    storage, scores, accuracies = Storage(tmp_path), [], []
    for weight in (0, 3):
        run = make_run(
            models=[RESNET | {"sizes": [4]}],
            data_sizes=[20],
            training={"epochs": 12, "batch_size": 20},
            objective={"name": "harmonizer", "weight": weight},
        )
        train(run, mapped_data, storage)
        scores.append(planted_alignment(storage, run, mapped_data))
        accuracies.append(ResultsStore(storage).read_run(run.run_id).accuracy)
    assert scores[1] > scores[0] + 0.2, (scores, accuracies)
    assert accuracies[1] > accuracies[0] - 0.1, accuracies


def with_maps(data: ImageData) -> ImageData:
    maps = data.train.images.mean(-1).astype(np.float32)
    maps[::3] = np.nan
    return replace(data, train=ImageSet(data.train.images, data.train.labels, maps))


def test_two_processes_train_as_one(make_run, mapped_data, tmp_path):
    """Views, noise and maps follow their images, batch norm and contrasts see all; the uneven last batches too."""
    cases = [(VIT, "ffgsm"), (VIT, "harmonizer"), (VIT, "dino"), (RESNET, "simclr")]
    common = {"epochs": 2, "batch_size": 9, "optimizer": "adamw", "lr": 1e-3}
    runs = [
        make_run(models=[family], data_sizes=[2], objective=OBJECTIVES[name],
                 training=common | ({} if name in OWN_VIEWS else {"augmentation": "crop_flip"}))
        for family, name in cases
    ]  # fmt: skip
    (tmp_path / "runs.txt").write_text("\n".join(run.model_dump_json() for run in runs))
    command = [sys.executable, __file__]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in (0, 1)]
    errors = [worker.communicate(timeout=300)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    one, two = Storage(tmp_path / "one"), Storage(tmp_path / "two")
    for run in runs:
        train(run, mapped_data, one)
        for single, double in zip(facts(one, run), facts(two, run), strict=True):
            numbers = {key: value for key, value in single.items() if isinstance(value, float)}
            assert {key: double[key] for key in numbers} == pytest.approx(numbers, rel=1e-5)


def be_worker(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    data = with_maps(load_images(DatasetSpec(name="digits"), folder))
    for line in (folder / "runs.txt").read_text().splitlines():
        run = RunSpec.model_validate_json(line)
        for _ in Training(run, data, Storage(folder / "two"), Worker(rank=rank, world=2)).epochs():
            pass
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    be_worker(int(sys.argv[1]), Path(sys.argv[2]))
