"""How a step is computed: micro-batches, the weights' average, precision, memory formats, compilation, memory.

Run as a program, this file trains one run in a process of little memory: FOLDER.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scaling.checkpoints.tensors import load_tensors
from scaling.data.images import ImageData, load_images
from scaling.errors import StudyError
from scaling.layout import weights_name
from scaling.models.cost import training_memory
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.loop import Training, train_run
from scaling.train.memory import images_at_once, step_memory

RESNET = {"family": "resnet", "depth": 10, "sizes": [8]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
TRAINING = {"epochs": 2, "batch_size": 15, "augmentation": "flip"}
GIB = 2**30


def trained(run: RunSpec, data: ImageData, storage: Storage) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses by epoch and the last weights."""
    losses = [record.loss for record in train_run(run, data, storage)]
    return losses, load_tensors(storage, weights_name(run.run_id, run.training.epochs))[0]


@pytest.mark.parametrize("objective", ["supervised", "ffgsm"])
def test_micro_batches_take_the_same_steps(make_run, digits_data, tmp_path, objective):
    """Without batch norm a step is a sum over images; 15 images in parts of at most 4 are 4, 4, 4 and 3."""
    make = {"models": [VIT], "data_sizes": [3], "training": TRAINING, "objective": objective}
    whole, parts = make_run(**make), make_run(**make, resources={"micro_batch": 4})
    assert whole.run_id == parts.run_id
    losses, weights = trained(whole, digits_data, Storage(tmp_path / "whole"))
    sizes = [len(part.images) for part in Training(parts, digits_data, Storage(tmp_path)).feed.load(
        torch.arange(15).numpy(), (0, 0)).parts(4)]  # fmt: skip
    assert sizes == [4, 4, 4, 3]
    split_losses, split_weights = trained(parts, digits_data, Storage(tmp_path / "parts"))
    assert split_losses == pytest.approx(losses, rel=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(split_weights[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_no_pass_holds_more_than_a_micro_batch(make_run, digits_data, storage):
    """Nor the evaluation's, which would else run out of the memory that the micro-batches spare."""
    run = make_run(models=[VIT], data_sizes=[3], training=TRAINING, resources={"micro_batch": 4})
    training, sizes = Training(run, digits_data, storage), []
    training.model.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    list(training.epochs())
    assert sum(sizes) == 2 * 30 + len(digits_data.heldout)
    assert max(sizes) == 4


def test_micro_batches_have_their_own_batch_norm_statistics(make_run, digits_data, tmp_path):
    """The losses differ, as the setting's description says."""
    make = {"models": [RESNET], "data_sizes": [3], "training": TRAINING}
    losses = trained(make_run(**make), digits_data, Storage(tmp_path / "whole"))[0]
    split = trained(make_run(**make, resources={"micro_batch": 5}), digits_data, Storage(tmp_path / "parts"))[0]
    assert split != pytest.approx(losses, rel=1e-5)


def test_the_kept_weights_are_the_average_by_its_closed_form(make_run, digits_data, storage):
    """a_t = d a_(t-1) + (1 - d) w_t, from a_0 = w_0; buffers too."""
    run = make_run(models=[RESNET], data_sizes=[3], training=TRAINING | {"ema": 0.3})
    training = Training(run, digits_data, storage)
    average = {name: value.clone() for name, value in training.model.state_dict().items()}
    real_step = training.step

    def step(batch, lr):
        loss = real_step(batch, lr)
        for name, value in training.model.state_dict().items():
            average[name] = average[name].lerp(value, 0.7) if value.is_floating_point() else value.clone()
        return loss

    training.step = step  # type: ignore[method-assign]
    list(training.epochs())
    saved = load_tensors(storage, weights_name(run.run_id, 2))[0]
    assert not torch.allclose(saved["conv1.weight"], training.model.conv1.weight)
    for name, value in average.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(saved[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_bfloat16_is_the_forward_passs_and_weights_stay_float32(make_run, digits_data, tmp_path):
    make = {"models": [RESNET], "data_sizes": [3]}
    half = make_run(**make, training=TRAINING | {"precision": "bfloat16"})
    training, seen = Training(half, digits_data, Storage(tmp_path / "seen")), []
    training.model.layer1.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    list(training.epochs())
    assert torch.bfloat16 in seen
    losses, weights = trained(half, digits_data, Storage(tmp_path / "half"))
    exact = trained(make_run(**make, training=TRAINING), digits_data, Storage(tmp_path / "exact"))[0]
    assert losses == pytest.approx(exact, rel=0.02)
    assert losses != exact
    assert {value.dtype for name, value in weights.items() if name.endswith("weight")} == {torch.float32}


def test_channels_last_changes_the_memory_and_not_the_numbers(make_run, digits_data, tmp_path):
    make = {"models": [RESNET | {"sizes": [16]}], "data_sizes": [3], "training": TRAINING}
    run = make_run(**make, resources={"channels_last": True})
    training = Training(run, digits_data, Storage(tmp_path / "last"))
    batch = training.load_batch(torch.arange(15).numpy(), (0, 0))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    losses, weights = trained(run, digits_data, Storage(tmp_path / "last"))
    plain, plain_weights = trained(make_run(**make), digits_data, Storage(tmp_path / "first"))
    assert losses == pytest.approx(plain, rel=1e-4)
    torch.testing.assert_close(weights["fc.weight"], plain_weights["fc.weight"], rtol=1e-2, atol=1e-4)


def test_channels_last_that_a_cpu_computes_wrongly_is_refused(make_run, digits_data, storage):
    run = make_run(models=[RESNET | {"sizes": [4]}], resources={"channels_last": True})
    with pytest.raises(StudyError, match=r"strided 1 x 1 convolution of 4 channels \('layer2.*set resources.channels"):
        Training(run, digits_data, storage)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs; none found")
def test_a_compiled_model_trains_to_the_same_losses(make_run, digits_data, tmp_path):
    make = {"models": [VIT | {"depth": 1}], "data_sizes": [3], "training": TRAINING | {"epochs": 1}}
    run = make_run(**make, resources={"compile": True})
    training = Training(run, digits_data, Storage(tmp_path / "compiled"))
    assert training.model._compiled_call_impl is not None
    losses = trained(run, digits_data, Storage(tmp_path / "compiled"))[0]
    assert losses == pytest.approx(trained(make_run(**make), digits_data, Storage(tmp_path / "plain"))[0], rel=1e-4)


@pytest.mark.parametrize("objective", ["simclr", "dino", "harmonizer"])
def test_what_cannot_be_compiled_is_refused(make_run, digits_data, storage, objective):
    options = {"name": objective} | ({"teacher_momentum": 0.01} if objective == "dino" else {})
    with pytest.raises(StudyError, match=f"resources.compile=true and objective '{objective}' do not go together"):
        Training(make_run(objective=options, resources={"compile": True}), digits_data, storage)


def test_deterministic_is_torchs_own_switch(make_run, digits_data, storage):
    Training(make_run(resources={"deterministic": True}), digits_data, storage)
    assert torch.are_deterministic_algorithms_enabled()
    Training(make_run(), digits_data, storage)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_estimate_is_of_the_largest_pass(make_run):
    run = make_run(models=[VIT], training=TRAINING, data_sizes=[3], resources={"workers": 2, "micro_batch": 5})
    assert images_at_once(run, 30) == 4, "a share of 8 in two parts"
    assert step_memory(run, 8, 10, 30) == training_memory(run.model, 8, 10, 4, "sgd")
    simclr = make_run(objective="simclr", data_sizes=[3], training={"batch_size": 10})
    assert images_at_once(simclr, 30) == 20, "two views of each image"


def test_a_run_that_needs_more_memory_than_there_is_says_so(make_run, tmp_path):
    """In a process whose address space ends 256 MiB above what its imports take."""
    run = make_run(
        models=[{"family": "resnet", "depth": 10, "sizes": [64]}],
        dataset={"name": "digits", "image_size": 32},
        data_sizes=["all"],
        training={"epochs": 1, "batch_size": 1437},
    )
    (tmp_path / "run.json").write_text(run.model_dump_json())
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    record = ResultsStore(Storage(tmp_path)).read_run(run.run_id)
    estimate = training_memory(run.model, 32, 10, 1437, "sgd") / GIB
    assert (record.status, record.epochs_done, record.n_samples) == ("out_of_memory", 0, 1437)
    assert f"a step of 1,437 images on a worker needs about {estimate:.2f} GiB" in record.reason
    assert "set resources.micro_batch below 1,437" in record.reason
    assert estimate > 0.25


def be_short_of_memory(folder: Path) -> None:
    run = RunSpec.model_validate_json((folder / "run.json").read_text())
    data = load_images(DatasetSpec(name="digits", image_size=32), folder)
    training = Training(run, data, Storage(folder / "warm"))  # imports what a run needs before memory ends
    del training
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + GIB // 4
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    assert list(train_run(run, data, Storage(folder))) == []


if __name__ == "__main__":
    be_short_of_memory(Path(sys.argv[1]))
