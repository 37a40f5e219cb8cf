"""Named presets: the numbers of the published table, what comes before what, and rates at other batches."""

from __future__ import annotations

import json

import pytest

from jobs.cli import app
from scaling.checkpoints.weights import CheckpointInfo
from scaling.errors import StudyError
from scaling.records import needs_training, run_record
from scaling.specs.presets import PRESETS
from scaling.specs.run import RunSpec
from scaling.specs.training import TrainingSpec, resolve_training
from scaling.study import expand_study

# family: epochs, optimizer, lr, batch, weight decay, warm-up, min_lr, schedule (Gokce & Schrimpf 2025)
PUBLISHED = {
    "resnet": (100, "sgd", 0.1, 256, 1e-4, 5, 1e-5, "cosine"),
    "convnext": (300, "adamw", 4e-3, 4096, 0.05, 20, 1e-6, "cosine"),
    "deit3": (300, "adamw", 3e-3, 2048, 0.02, 5, 1e-5, "cosine"),
    "simclr-resnet": (100, "lars", 1.697, 512, 1e-6, 10, 0.0, "cosine"),
    "simclr-vit": (100, "adamw", 1e-4, 512, 0.05, 10, 0.0, "cosine"),
    "dino": (300, "adamw", 5e-4, 256, 0.04, 10, 1e-6, "cosine"),
    "ffgsm": (10, "sgd", 0.1, 256, 1e-4, 2, 0.0, "linear"),
}
FURTHER = {
    "resnet": {"momentum": 0.9, "loss": "cross_entropy", "augmentation": "resized_crop", "label_smoothing": 0.0},
    "convnext": {
        "loss": "soft_cross_entropy", "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "policy": "randaugment",
        "randaugment_magnitude": 9, "erasing": 0.25, "ema": 0.0, "ema_half_life_share": 0.0738,
        "drop_path": 0.1, "clip_norm": None,
    },
    "deit3": {
        "loss": "binary_cross_entropy", "label_smoothing": 0.0, "mixup": 0.8, "cutmix": 1.0, "policy": "three_augment",
        "repeated_augmentation": 3, "ema": 0.0, "ema_half_life_share": 0.0369, "clip_norm": 1.0,
        "colour_jitter": 0.3, "erasing": 0.0,
    },
    "simclr-resnet": {"momentum": 0.9, "lr_scaling": "sqrt"},
    "dino": {"weight_decay_end": 0.4, "clip_norm": 3.0},
    "ffgsm": {"momentum": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_is_the_published_row(name):
    spec = TrainingSpec(preset=name)
    fields = ("epochs", "optimizer", "lr", "batch_size", "weight_decay", "warmup_epochs", "min_lr", "schedule")
    assert tuple(getattr(spec, field) for field in fields) == PUBLISHED[name]
    assert {field: getattr(spec, field) for field in FURTHER.get(name, {})} == FURTHER.get(name, {})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_training_with_a_source(name):
    preset = PRESETS[name]
    spec = TrainingSpec(preset=name)
    assert all(getattr(spec, field) == value for field, value in preset.fields.items())
    assert any(source in preset.source for source in ("Gokce & Schrimpf", "Jordan 2024", "assumption: "))
    assert "preset" not in preset.fields
    assert spec.for_samples(10**6) == spec, "the batch of the preset has the rate of the preset"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_a_run_of_its_kind(make_study, name):
    objective = {"simclr-resnet": "simclr", "simclr-vit": "simclr", "dino": "dino", "ffgsm": "ffgsm"}
    study = make_study(
        training={"preset": name, "cap_batch": True}, objective=objective.get(name, "supervised"), data_sizes=["all"]
    )
    (run,) = expand_study(study)
    assert run.training.epochs == PRESETS[name].fields["epochs"]


def test_defaults_then_the_preset_then_the_study_then_the_family():
    study = TrainingSpec.model_validate({"preset": "resnet", "lr": 0.4, "epochs": 20})
    spec = resolve_training(study, {"epochs": 30}, "here")
    defaults = TrainingSpec()
    assert spec.label_smoothing == defaults.label_smoothing
    assert spec.batch_size == 256 != defaults.batch_size, "the preset's"
    assert spec.lr == 0.4, "the study's"
    assert spec.epochs == 30, "the family's"


def test_a_familys_preset_replaces_the_studys_but_not_what_the_study_writes():
    study = TrainingSpec.model_validate({"preset": "resnet", "lr": 0.4})
    spec = resolve_training(study, {"preset": "convnext"}, "here")
    assert (spec.optimizer, spec.batch_size, spec.lr) == ("adamw", 4096, 0.4)
    assert resolve_training(study, {}, "here").optimizer == "sgd"


def test_an_unknown_preset_is_refused_with_the_known():
    with pytest.raises(StudyError, match=r"unknown preset 'resnets'; did you mean 'resnet'\? known: cifar_fast, "):
        resolve_training(TrainingSpec(), {"preset": "resnets"}, "here")


@pytest.mark.parametrize("batch", [32, 256, 1024, 8192])
def test_a_rate_follows_the_batch_linearly(batch):
    """Goyal et al. 2017: 0.1 . batch / 256."""
    spec = TrainingSpec(preset="resnet", batch_size=batch).for_samples(10**6)
    assert spec.lr == pytest.approx(0.1 * batch / 256)
    assert spec.min_lr == pytest.approx(1e-5 * batch / 256)
    assert spec.for_samples(10**6) == spec, "once"


@pytest.mark.parametrize("batch", [128, 512, 4096])
def test_a_rate_follows_the_root_of_the_batch(batch):
    """Chen et al. 2020: 0.075 sqrt(batch), 1.697 at 512 and 4.8 at 4096."""
    spec = TrainingSpec(preset="simclr-resnet", batch_size=batch).for_samples(10**6)
    assert spec.lr == pytest.approx(0.075 * batch**0.5, rel=1e-3)


def test_a_rate_may_ignore_the_batch():
    spec = TrainingSpec(preset="resnet", batch_size=64, lr_scaling="none").for_samples(10**6)
    assert spec.lr == 0.1


def test_a_capped_batch_has_its_own_rate():
    spec = TrainingSpec(preset="small-resnet").for_samples(16)
    assert (spec.batch_size, spec.lr) == (16, 0.025)


def test_the_command_prints_sources_fields_and_deviations():
    from typer.testing import CliRunner

    printed = CliRunner().invoke(app, ["presets", "simclr-resnet"])
    words = " ".join(printed.output.split())
    assert printed.exit_code == 0
    for part in ("simclr-resnet", "lars", "1.697", "Chen et al.", "2048 to 128"):
        assert part in words
    assert "convnext" not in words
    assert all(name in CliRunner().invoke(app, ["presets"]).output for name in PRESETS)


def test_the_command_refuses_an_unknown_name_with_status_2():
    from typer.testing import CliRunner

    refused = CliRunner().invoke(app, ["presets", "resnets"])
    assert refused.exit_code == 2
    assert "did you mean 'resnet'?" in refused.output + refused.stderr


def test_the_old_name_of_the_field_is_refused_with_the_new(make_study):
    with pytest.raises(StudyError, match=r"unknown field 'training\.recipe' \(study\): it is called preset now"):
        make_study(training={"recipe": "resnet"})
    with pytest.raises(StudyError, match=r"unknown field 'recipe' \(.*models\[0\]\.training\): it is called preset"):
        make_study(models=[{"family": "resnet", "depth": 10, "sizes": [2], "training": {"recipe": "resnet"}}])


@pytest.mark.parametrize("recipe", [None, "convnext", "long gone"])
def test_runs_of_older_stores_are_read_with_their_ids(make_run, storage, recipe):
    """A record and a checkpoint's header hold the whole training, and the field as it was called."""
    written = {"ema": 0.9999, "epochs": 30, "warmup_epochs": 5, "batch_size": 10}
    run = make_run(training=written)
    old = json.loads(run.model_dump_json())
    for later in ("preset", "ema_half_life_share", "ema_half_life_epochs"):
        del old["training"][later]
    old["training"]["recipe"] = recipe
    read = RunSpec.model_validate_json(json.dumps(old))
    assert read.run_id == run.run_id
    assert read.training == run.training.model_copy(update={"preset": recipe}), "nothing is laid beneath it"
    record = run_record(run, "finished", None).model_copy(update={"spec": json.dumps(old)})
    assert not needs_training(run, record)
    header = CheckpointInfo.model_validate_json(
        json.dumps({
            "run": old, "epoch": 1, "samples_seen": 1, "flops": 1.0, "accuracy": 0.5, "image_size": 8, "n_classes": 2,
            "mean": [0, 0, 0], "std": [1, 1, 1],
        })
    )  # fmt: skip
    assert header.run == read
    assert RunSpec.model_validate_json(read.model_dump_json()) == read
