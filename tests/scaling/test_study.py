"""The study file: what is coerced, expanded, hashed and refused."""

from __future__ import annotations

import itertools

import pytest
import yaml

from scaling.errors import StudyError
from scaling.specs.checkpoints import CheckpointSpec
from scaling.specs.resources import ResourceSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.training import TrainingSpec
from scaling.study import expand_study, load_study, parse_study

# An id that changes makes every stored result an orphan: change this one only with a note in CHANGELOG.
TINY_RUN_ID = "00219b3e06de"


def test_a_file_of_four_fields_is_enough_and_defaults_fill_it(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: short\ndataset: digits\nmodels: [{family: vit, sizes: [12]}]\nbenchmarks: [simulated-ventral-stream]\n"
    )
    study = load_study(path)
    assert (study.data_sizes, study.seeds, study.objective, study.storage) == (("all",), (0,), "supervised", "results")
    assert (study.training, study.resources, study.scoring) == (TrainingSpec(), ResourceSpec(), ScoringSpec())
    assert study.checkpoints == CheckpointSpec(keep=("last",), score=("last",))


def test_yaml_exponents_without_a_point_are_numbers(write_study):
    text = "training: {lr: 1e-3, weight_decay: 5E-2, min_lr: 1e-5, clip_norm: 1e0}"
    assert yaml.safe_load(text)["training"]["lr"] == "1e-3", "PyYAML reads these as text: the reason for this test"
    training = load_study(write_study(**yaml.safe_load(text))).training
    assert (training.lr, training.weight_decay, training.min_lr, training.clip_norm) == (1e-3, 5e-2, 1e-5, 1.0)


def test_expand_is_the_full_grid_in_the_files_order(make_study):
    models = [{"family": "resnet", "sizes": [4, 2]}, {"family": "vit", "heads": 2, "sizes": [8, 6]}]
    runs = expand_study(make_study(models=models, data_sizes=["all", 5], seeds=[3, 1]))
    grid = itertools.product([("resnet", 4), ("resnet", 2), ("vit", 8), ("vit", 6)], [None, 5], [3, 1])
    assert [((r.model.family, r.model.size), r.images_per_class, r.seed) for r in runs] == list(grid)
    assert len({run.run_id for run in runs}) == 16


def test_run_id_is_pinned(make_run):
    assert make_run().run_id == TINY_RUN_ID


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "renamed"},
        {"storage": "s3://elsewhere/results?region=us-east-1"},
        {"mlflow": "http://tracking:5000"},
        {"benchmarks": ["kriegeskorte2008"]},
        {"resources": {"workers": 2, "cpus_per_worker": 4, "gpus_per_worker": 0.5}},
        {"scoring": {"actors": 3, "cpus": 1}},
        {"checkpoints": {"keep": [0, 1], "score": [0, "last"]}},
        {"max_failures": 7},
        {"dataset": {"name": "digits"}},
        {"training": {"epochs": 2, "batch_size": 10, "lr": "5e-2"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_run_id_does_not_depend_on_where_a_run_happens_or_what_is_kept(make_run, changes):
    assert make_run(**changes).run_id == TINY_RUN_ID


RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
TRAINING = {"epochs": 3, "batch_size": 10, "lr": 0.05}
ELSEWHERE = {
    "epochs": 4, "batch_size": 11, "optimizer": "adamw", "lr": 0.06, "momentum": 0.8, "weight_decay": 0.1,
    "schedule": "constant", "warmup_epochs": 1, "min_lr": 0.01, "label_smoothing": 0.1, "clip_norm": 1.0,
    "augmentation": "flip", "cap_batch": True, "lr_batch": 20, "lr_scaling": "sqrt", "weight_decay_end": 0.2,
    "loss": "soft_cross_entropy", "min_crop": 0.3, "policy": "randaugment", "randaugment_magnitude": 7.0,
    "colour_jitter": 0.3, "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0, "repeated_augmentation": 3, "drop_path": 0.1,
    "ema": 0.99, "ema_half_life_share": 0.05, "ema_half_life_epochs": 0.2, "precision": "bfloat16",
    "sync_batch_norm": False, "warmup_share": 0.1, "warmup_steps": 1, "cooldown": "linear", "cooldown_share": 0.4,
    "cooldown_epochs": 1.0, "order": "nested", "flips": "alternating", "whiten": True, "nesterov": True,
}  # fmt: skip
SOFT = {field: {"loss": "soft_cross_entropy"} for field in ("mixup", "cutmix")}
SOFT |= {field: {"schedule": "wsd"} for field in ("cooldown", "cooldown_share", "cooldown_epochs")}
SOFT |= {"order": {"schedule": "wsd", "epochs": 1}}


def test_run_id_changes_with_everything_that_determines_the_weights(make_run):
    changes = [
        {},
        {"models": [RESNET | {"family": "vit"}]},
        {"models": [RESNET | {"sizes": [4]}]},
        {"models": [RESNET | {"depth": 18}]},
        {"models": [{"family": "vit", "depth": 10, "sizes": [6], "heads": 3}]},
        {"models": [{"family": "vit", "depth": 10, "sizes": [6], "heads": 2}]},
        {"dataset": "letters"},
        {"dataset": {"name": "digits", "image_size": 16}},
        {"data_sizes": [3]},
        {"data_sizes": ["all"]},
        {"seeds": [1]},
        *({"training": TRAINING | SOFT.get(field, {}) | {field: value}} for field, value in ELSEWHERE.items()),
    ]
    fields = set(TrainingSpec.model_fields) - {"preset"}
    assert set(ELSEWHERE) == fields, "a new training field needs a line above"
    changes[1]["models"][0]["sizes"] = [6]
    ids = [make_run(**{"training": TRAINING} | change).run_id for change in changes]
    assert len(set(ids)) == len(ids)


def test_a_family_overrides_only_what_it_names(make_study):
    vit = {"family": "vit", "heads": 2, "sizes": [8]}
    vit |= {"training": {"lr": "2e-3", "optimizer": "adamw"}, "resources": {"workers": 2}}
    study = make_study(models=[RESNET, vit], resources={"cpus_per_worker": 3})
    resnet, vit = expand_study(study)
    assert (resnet.training, resnet.resources) == (study.training, study.resources)
    assert vit.training == study.training.model_copy(update={"lr": 2e-3, "optimizer": "adamw"})
    assert vit.resources == ResourceSpec(workers=2, cpus_per_worker=3)


@pytest.mark.parametrize(
    ("wanted", "kept", "scored"),
    [
        ({}, (3,), (3,)),
        ({"keep": [1]}, (1, 3), (3,)),
        ({"keep": [0], "score": [1]}, (0, 1, 3), (1,)),
        ({"score": [0, "last"]}, (0, 3), (0, 3)),
        ({"keep": [2, 0], "score": [3, 1, "last"]}, (0, 1, 2, 3), (1, 3)),
    ],
)
def test_scored_epochs_and_the_last_are_always_kept(make_run, wanted, kept, scored):
    run = make_run(checkpoints=wanted, training={"epochs": 3})
    assert (run.keep_epochs, run.score_epochs) == (kept, scored)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"lrr": 1}}, ["unknown field 'training.lrr'", "did you mean 'lr'?", "momentum", "here"]),
        ({"models": [RESNET | {"training": {"batch": 2}}]}, ["unknown field 'batch'", "models[0].training", "lr"]),
        ({"models": [RESNET | {"training": {"lr": -1}}]}, ["lr=-1", "greater than 0", "here, models[0].training"]),
        ({"training": {"epochs": 1, "warmup_epochs": 1}}, ["warmup_epochs=1", "epochs=1", "here, training"]),
        ({"data_sizes": [10, 0]}, ["data_sizes[1]=0", "greater than 0", "'all'"]),
        ({"data_sizes": ["al"]}, ["data_sizes[0]='al'", "integer", "'all'"]),
        ({"checkpoints": {"score": [-1]}}, ["checkpoints.score[0]=-1", "greater than or equal to 0", "'last'"]),
        ({"benchmarks": []}, ["benchmarks=[]", "at least 1"]),
        ({"dataset": {"name": "digits", "image_size": 2000}}, ["dataset.image_size=2000", "1024"]),
        ({"name": "../up"}, ["'../up'", "names a folder", "here, name"]),
        ({"models": [RESNET | {"depth": 20}]}, ["depth=20", "known: 10, 18", "models[0]"]),
        ({"models": [RESNET | {"heads": 2}]}, ["heads=2", "remove it"]),
        ({"resources": {"workers": 6}}, ["batch_size=10", "6 workers fewer than 2", "lower resources.workers"]),
    ],
)  # fmt: skip
def test_messages_name_field_value_limit_and_place(make_study, changes, words):
    with pytest.raises(StudyError) as error:
        make_study(**changes)
    message = str(error.value).replace("(study", "(here")
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


def test_every_problem_has_its_line():
    with pytest.raises(StudyError) as error:
        parse_study({"name": "x", "dataset": "digits", "seeds": [0, -1], "data_sizes": [0]})
    lines = str(error.value).splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == ["field", "data_sizes[0]=0:", "seeds[1]=-1:", "field"]
    assert "'models' is missing" in lines[0]
