"""Zoo studies: what is listed, refused, loaded once, kept, and told in the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.cache import weights_hash
from scaling.alignment.metrics.geometry import geometry
from scaling.alignment.scoring import ScoringOptions
from scaling.alignment.suites.registry import build_benchmarks
from scaling.checkpoints.weights import CheckpointInfo, save_weights
from scaling.errors import StudyError
from scaling.models import build_model
from scaling.models.any_timm import load_timm
from scaling.records import ResultsStore, run_record
from scaling.specs.zoo import is_zoo
from scaling.storage import Storage
from scaling.study import expand_study, parse_study
from scaling.zoo import listing, scoring
from scaling.zoo.scoring import load_subject, score_zoo_model
from scaling.zoo.study import ZooStudy, open_zoo

SUITE = "simulated-ventral-stream"
RANDOM = {"zoo": "timm:test_resnet", "image_size": 32}
OPTIONS = ScoringOptions(resamples=0)


@pytest.fixture
def write(tmp_path):
    """Write a zoo study of some models."""

    def written(*models: dict, **fields: object) -> Path:
        told = [{key: str(value).replace("FOLDER", str(tmp_path)) if key in ("weights", "path") else value
                 for key, value in model.items()} for model in models]  # fmt: skip
        content = {"name": "zoo", "models": told, "benchmarks": [SUITE], "storage": str(tmp_path / "results")}
        path = tmp_path / "zoo.yaml"
        path.write_text(yaml.safe_dump(content | fields))
        return path

    return written


@pytest.fixture
def benchmarks(digits):
    return build_benchmarks([SUITE], digits[2], None)[:2]


def score(study: ZooStudy, benchmarks):
    for model in study.models:
        study.scored(model, score_zoo_model(study.storage, model, benchmarks, OPTIONS, study.protocols))


REFUSED = [
    ("a pattern that matches nothing", [{"zoo": "timm:resnett*"}], {}, "no model of timm is called 'resnett*'"),
    ("one of two patterns", [{"zoo": "torchvision:alexnet,nothing"}], {}, "no model of torchvision is called"),
    ("an unknown source", [{"zoo": "hub:resnet18"}], {}, "write for instance 'timm:resnet*,convnext*'"),
    ("no pattern", [{"zoo": "timm:"}], {}, "is none of timm:PATTERNS"),
    ("checkpoints without a path", [{"zoo": "checkpoints"}], {}, "a path belongs to zoo: checkpoints"),
    ("a path of timm", [{"zoo": "timm:resnet18", "path": "x"}], {}, "a path belongs to zoo: checkpoints"),
    ("both weights", [{**RANDOM, "pretrained": True, "weights": "x"}], {}, "are both given; keep one"),
    ("a folder without weights", [{**RANDOM, "weights": "FOLDER"}], {}, "name them like test_resnet.safetensors"),
    ("a folder without runs", [{"zoo": "checkpoints", "path": "FOLDER"}], {}, "holds no finished runs"),
    ("one model twice", [RANDOM, RANDOM], {}, "is in two entries of models"),
    ("accuracies that are no table", [RANDOM], {"accuracies": __file__}, "no CSV with columns model and top1"),
    ("an unknown benchmark", [RANDOM], {"benchmarks": ["nothing"]}, "nothing"),
    ("a field of trainings", [RANDOM], {"seeds": [1]}, "unknown field 'seeds'"),
]


@pytest.mark.parametrize(("_", "models", "fields", "told"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_refused_before_anything_starts(write, _, models, fields, told):
    with pytest.raises(StudyError) as error:
        open_zoo(write(*models, **fields))
    assert told in str(error.value)


def test_a_study_trains_or_is_a_zoo(write):
    assert is_zoo(write(RANDOM))
    with pytest.raises(StudyError, match="both in"):
        is_zoo(write(RANDOM, {"family": "resnet", "sizes": [8]}))


def test_published_weights_that_cannot_be_had_are_named_before_the_start(write, monkeypatch, tmp_path):
    """Nothing listens at the port, and the machine's caches are empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(listing, "HOSTS", {"timm": ("127.0.0.1", 9)})
    study = open_zoo(write({"zoo": "timm:resnet10t,resnet18d", "pretrained": True}))
    with pytest.raises(StudyError, match=r"2 of 2 timm models are not on this machine, and 127.0.0.1 does not answer: "
                                         r"resnet10t.c3_in1k, resnet18d.ra4_e3600_r224_in1k|resnet18d"):  # fmt: skip
        listing.check_weights(study.models)
    listing.check_weights(open_zoo(write(RANDOM)).models)


def test_facts_of_published_weights(write, tmp_path):
    """timm's package says the data by its tags, the year by the paper; the accuracy is that of the given table."""
    table = tmp_path / "results.csv"
    table.write_text("model,img_size,top1\nresnet50.a1_in1k,224,80.1\n")
    timm = {"zoo": "timm:resnet50.a1*,convnext_tiny.fb_in22k_ft_in1k", "pretrained": True}
    models = open_zoo(write(timm, {"zoo": "torchvision:alexnet", "pretrained": True}, accuracies=str(table))).models
    known = {model.name: (model.family, model.year, model.data, model.accuracy) for model in models}
    assert known["resnet50.a1_in1k"] == ("resnet", 2021, "ImageNet-1k", pytest.approx(0.801))
    assert known["convnext_tiny.fb_in22k_ft_in1k"] == ("convnext", None, "ImageNet-22k + ImageNet-1k", None)
    assert known["alexnet"] == ("alexnet", None, "ImageNet-1k", pytest.approx(0.56522))


def test_weights_of_a_folder_are_the_models(write, tmp_path, benchmarks):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        other = load_timm("test_resnet")
        torch.nn.init.normal_(other.conv1[0].weight)
    torch.save(other.state_dict(), tmp_path / "test_resnet.pth")
    study = open_zoo(write(RANDOM, {**RANDOM, "weights": "FOLDER"}, geometry=True))
    score(study, benchmarks)
    drawn, own = (study.records[model.model_id] for model in study.models)
    assert own.weights_sha256 == weights_hash(other) != drawn.weights_sha256
    told = json.loads(own.geometry)
    ((stimuli, layers),) = told.items()
    assert stimuli == benchmarks[0].stimuli.name
    subject = load_subject(study.models[1])
    layer = subject.layers[0]
    x = collect_activations(subject.model, [layer], subject.preprocessing.apply(benchmarks[0].stimuli.images))[layer]
    assert layers[layer] == pytest.approx(list(geometry(x)), rel=1e-5)
    assert list(layers) == list(subject.layers)
    assert (own.n_params, own.image_size) == (sum(p.numel() for p in other.parameters()), 32)
    assert own.flops_per_image == drawn.flops_per_image > 2 * 16 * 16 * 3 * 9  # at least its first convolution
    torch.save({"x": torch.zeros(1)}, tmp_path / "test_resnet.pth")
    changed = open_zoo(write(RANDOM, {**RANDOM, "weights": "FOLDER"}))
    assert changed.models[1].model_id != study.models[1].model_id  # another file is another model
    with pytest.raises(StudyError, match=r"test_resnet.pth holds no weights of timm:test_resnet"):
        load_subject(changed.models[1])


def test_scores_are_resumed_and_failures_told(write, monkeypatch, benchmarks):
    """A model is loaded once for all its benchmarks, and not again for what it has; what failed is open."""
    study = open_zoo(write(RANDOM, {"zoo": "timm:test_vit", "image_size": 64}))
    calls = []
    create = scoring.CREATE["timm"]
    monkeypatch.setitem(scoring.CREATE, "timm", lambda *a: calls.append(a[0]) or create(*a))
    first, second = study.models
    study.failed(second, "out of memory")
    study.scored(first, score_zoo_model(study.storage, first, benchmarks, OPTIONS, study.protocols))
    again = score_zoo_model(study.storage, first, benchmarks, OPTIONS, study.protocols)
    assert calls == ["test_resnet"]
    opened = open_zoo(study.storage.root.removesuffix("results/zoo") + "zoo.yaml")
    assert [opened.own_scores(first)[r.benchmark] for r in again] == again
    assert opened.lacking(second) == tuple(study.protocols)
    study.storage.delete(f"models/{first.model_id}.parquet")  # killed before it was there, or damaged
    lost = open_zoo(Path(study.storage.root).parents[1] / "zoo.yaml")
    assert lost.lacking(first) == tuple(study.protocols)
    assert score_zoo_model(study.storage, first, benchmarks, OPTIONS, study.protocols) == again
    (record,) = lost.store.read_models([first.model_id]).values()
    assert record.weights_sha256 == study.records[first.model_id].weights_sha256
    table = opened.table()
    assert set(table["benchmark"]) == {benchmark.name for benchmark in benchmarks}
    assert table.attrs["left_out"]["model failed"] == 1
    assert "flops" not in table
    assert table["n_params"].iloc[0] == opened.records[first.model_id].n_params
    assert [row["reason"] for row in opened.by_model()] == [None, "out of memory"]


def test_checkpoints_are_what_the_study_trained(write, tmp_path, benchmarks):
    content = {"name": "trained", "dataset": "digits", "benchmarks": [SUITE],
               "models": [{"family": "alexnet", "sizes": [8]}], "training": {"epochs": 2}}  # fmt: skip
    run = expand_study(parse_study(content))[0]
    storage = Storage(tmp_path / "trained")
    module = build_model(run.model, 8, 10)
    shown = {"image_size": 8, "n_classes": 10, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    info = CheckpointInfo(run=run, epoch=2, samples_seen=10, flops=1e6, accuracy=0.5, **shown)
    save_weights(storage, module, info)
    facts = {"n_params": 5, "flops": 1e6, "samples_seen": 10, "accuracy": 0.5, "epochs_done": 2, "kept": (2,)}
    ResultsStore(storage).write_run(run_record(run, "finished", None, **facts))
    study = open_zoo(write({"zoo": "checkpoints", "path": "FOLDER/trained"}))
    score(study, benchmarks)
    (row,) = study.by_model()
    assert (row["model"], row["family"], row["accuracy"], row["epoch"]) == (run.run_id, "alexnet", 0.5, 2)
    assert row["accuracy_of"] == "digits, held-out images"
    assert row["weights_sha256"] == weights_hash(module.eval())
