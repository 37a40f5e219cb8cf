"""load_model: the trained model by path, run and record, in a process without Ray, with its preprocessing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import scaling
from scaling import StudyError, checkpoint_info, load_model, preprocessing
from scaling.checkpoints.weights import CheckpointInfo, save_weights
from scaling.data.images import load_images
from scaling.layout import weights_name
from scaling.ledger import open_study
from scaling.models import build_model, candidate_layers
from scaling.records import ResultsStore, run_record
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage
from scaling.train.distributed.worker import Worker
from scaling.train.evaluate import count_correct
from scaling.train.loop import Training

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def info_of(run, epoch: int, **changes) -> CheckpointInfo:
    facts = {"samples_seen": 20 * epoch, "flops": 1e6 * epoch, "accuracy": 0.5, "image_size": 8, "n_classes": 10}
    return CheckpointInfo(run=run, epoch=epoch, **{"mean": MEAN, "std": STD, **facts, **changes})


@pytest.fixture
def run(make_run):
    return make_run(checkpoints={"keep": [0, 1, 2]})


@pytest.fixture
def results(run, tmp_path) -> Path:
    """A study's results: one run with three epochs' weights, of random initialisation."""
    storage = Storage(tmp_path / "results" / "tiny")
    for epoch in (0, 1, 2):
        torch.manual_seed(epoch)
        save_weights(storage, build_model(run.model, 8, 10), info_of(run, epoch))
    ResultsStore(storage).write_run(run_record(run, "finished", None, kept=(0, 1, 2), accuracy=0.5))
    return tmp_path / "results" / "tiny"


def weights_of(run, epoch: int) -> torch.nn.Module:
    torch.manual_seed(epoch)
    return build_model(run.model, 8, 10).eval()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_every_way_to_name_a_checkpoint_gives_it(run, results, make_study, tmp_path, write_study, monkeypatch):
    path = results / weights_name(run.run_id, 1)
    record = ResultsStore(Storage(results)).read_run(run.run_id)
    study = make_study(storage=str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    loaded = [
        load_model(path),
        load_model(path.as_uri()),
        load_model(str(path.relative_to(tmp_path)), verify=True),
        load_model(run.run_id, 1, study=results),
        load_model(run.run_id, 1, study=results.as_uri()),
        load_model(run.run_id, 1, study=write_study()),
        load_model(run.run_id, 1, study=study),
        load_model(run.run_id, 1, study=open_study(study)),
        load_model(record, 1),
        load_model(run, 1, storage=tmp_path / "results"),
        load_model(record, 1, study=results),
    ]
    monkeypatch.chdir(path.parent)
    loaded.append(load_model(path.name))
    expected = weights_of(run, 1)
    assert all(same(model, expected) and not model.training for model in loaded)
    assert same(load_model(record, study=results), weights_of(run, 2)), "by default the last"
    assert same(load_model(record, 0, study=results), weights_of(run, 0))


def test_a_model_carries_its_facts_and_layers(run, results):
    model = load_model(run.run_id, 1, study=results)
    assert model.info == info_of(run, 1) == checkpoint_info(run.run_id, 1, study=results)
    assert checkpoint_info(results / weights_name(run.run_id, 2)) == info_of(run, 2)
    assert model.layers == tuple(candidate_layers(run.model, model))
    assert [name for name in model.layers if name not in dict(model.named_modules())] == []
    assert set(model.state_dict()) == set(weights_of(run, 1).state_dict()), "no part of the weights"


def test_bad_requests_say_what_there_is(run, results, tmp_path):
    almost = run.run_id[:-1] + ("0" if run.run_id[-1] != "0" else "1")
    (results / weights_name(run.run_id, 1)).unlink()  # pruned
    requests = [
        ((almost,), {"study": results}, [f"run '{almost}' is not in", f"did you mean '{run.run_id}'?"]),
        ((run.run_id, 1), {"study": results}, ["epoch 1 of run", "there: 0, 2, or 'last'", "checkpoints.keep"]),
        ((run.run_id, "1"), {"study": results}, ["epoch '1' of run", "there: 0, 2"]),
        ((run.run_id,), {}, [f"run '{run.run_id}': give study=", "results/NAME"]),
        ((run.run_id,), {"study": tmp_path / "absent"}, ["absent' holds no results", "results/quickstart"]),
        ((results / "x.safetensors", 1), {}, ["is one epoch's file"]),
        ((results / "x.safetensors",), {}, ["x.safetensors' cannot be read"]),
        ((run,), {"storage": "gopher://x"}, ["gopher://x' is no place"]),
    ]
    for args, options, words in requests:
        for load in (load_model, checkpoint_info):
            with pytest.raises(StudyError) as error:
                load(*args, **options)
            assert [word for word in words if word not in str(error.value)] == [], str(error.value)


def test_a_run_without_weights_says_why(make_run, results):
    failed = make_run(seeds=[7])
    ResultsStore(Storage(results)).write_run(run_record(failed, "out_of_memory", "needs 9 GiB of 8"))
    with pytest.raises(StudyError, match=rf"run {failed.run_id} is out of memory and has no weights .*: needs 9 GiB"):
        load_model(failed, study=results)


def test_ray_is_not_imported_and_torch_only_when_asked(run, results):
    code = (
        "import sys, scaling\n"
        "assert 'torch' not in sys.modules and 'load_model' in dir(scaling)\n"
        f"model = scaling.load_model({run.run_id!r}, study={str(results)!r})\n"
        "scaling.preprocessing(model.info)\n"
        "print(type(model).__name__, [m for m in ('ray', 'mlflow', 'pandas', 'jobs') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("ResNet []\n", 0), done.stderr


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'scaling' has no attribute 'load_modl'"):
        scaling.load_modl  # noqa: B018


@pytest.mark.parametrize("sizes", [{"image_size": 24}, {"image_size": 24, "stored_size": 32}])
def test_preprocessing_is_what_the_held_out_images_get(make_run, tmp_path, encode, sizes):
    """A folder of images of all shapes, read as a study reads it, scaled as evaluation does; bit for bit."""
    random = np.random.default_rng(0)
    shapes = [(40, 40), (33, 57), (61, 25), (24, 24), (24, 80), (500, 333)]
    files = []
    for split in ("train", "val"):
        for index, shape in enumerate(shapes):
            smooth = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize(shape[::-1])
            kind = "JPEG" if index % 2 else "PNG"
            files.append(tmp_path / "set" / split / f"class{index % 2}" / f"{index}.{kind.lower()}")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_bytes(encode(np.asarray(smooth), kind))
    dataset = {"name": "shapes", "path": str(tmp_path / "set"), **sizes}
    data = load_images(DatasetSpec(**dataset), tmp_path)
    seen = {}

    class Seen(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            seen["pixels"] = pixels
            return torch.zeros(len(pixels), 2)

    count_correct(Seen(), data.heldout, data, Worker())
    prepare = preprocessing(info_of(make_run(dataset=dataset), 1, image_size=24, mean=data.mean, std=data.std))
    heldout = sorted((file for file in files if file.parts[-3] == "val"), key=lambda file: file.parts[-2:])
    assert torch.equal(torch.stack([prepare(Image.open(file)) for file in heldout]), seen["pixels"])


def test_preprocessing_is_torchvisions_own(make_run):
    random = np.random.default_rng(1)
    dataset = {"name": "digits", "image_size": 16}
    prepare = preprocessing(info_of(make_run(dataset=dataset), 1, image_size=16))
    plain = transforms.Compose([
        transforms.Resize(16), transforms.CenterCrop(16), transforms.ToTensor(), transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    for shape in ((16, 16), (23, 17), (100, 41), (9, 14)):
        image = Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8))
        assert torch.equal(prepare(image), plain(image))
        for mode in ("L", "P", "RGBA", "CMYK"):
            other = image.convert(mode)
            assert torch.equal(prepare(other), plain(other.convert("RGB"))), mode


def test_a_trained_model_reaches_its_recorded_accuracy(make_run, tmp_path, digits_data):
    run = make_run(data_sizes=[10], training={"epochs": 2, "batch_size": 20, "lr": 0.05})
    storage = Storage(tmp_path / "results" / "tiny")
    list(Training(run, digits_data, storage).epochs())
    model = load_model(run, study=tmp_path / "results" / "tiny", verify=True)
    prepare = preprocessing(model.info)
    images, labels = digits_data.heldout.images[:120], digits_data.heldout.labels[:120]
    with torch.inference_mode():
        classes = model(torch.stack([prepare(Image.fromarray(image)) for image in images])).argmax(1).numpy()
    (record,) = ResultsStore(storage).read_runs().values()
    correct = count_correct(model, digits_data.heldout, digits_data, Worker())
    assert float(correct) / len(digits_data.heldout) == record.accuracy == model.info.accuracy
    with torch.inference_mode():
        direct = count_correct(model, type(digits_data.heldout)(images, labels), digits_data, Worker())
    assert int((classes == labels).sum()) == int(direct)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer.*`git lfs pull`"),
        (b"<!doctype html><html></html>", "a web page"),
        (b"", "empty"),
    ],
)
def test_what_stands_in_the_place_of_a_checkpoint_is_named(tmp_path, content, words):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(StudyError, match=rf"w\.safetensors' cannot be read: it is .*{words}.*; put back a good copy"):
        load_model(tmp_path / "w.safetensors")
