"""Named recipes: the numbers of the published table, what comes before what, and rates at other batches."""

from __future__ import annotations

import pytest

from jobs.cli import app
from scaling.errors import StudyError
from scaling.specs.presets import PRESETS
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
        "randaugment_magnitude": 9, "erasing": 0.25, "ema": 0.9999, "drop_path": 0.1, "clip_norm": None,
    },
    "deit3": {
        "loss": "binary_cross_entropy", "label_smoothing": 0.0, "mixup": 0.8, "cutmix": 1.0, "policy": "three_augment",
        "repeated_augmentation": 3, "ema": 0.9999, "clip_norm": 1.0, "colour_jitter": 0.3, "erasing": 0.0,
    },
    "simclr-resnet": {"momentum": 0.9, "lr_scaling": "sqrt"},
    "dino": {"weight_decay_end": 0.4, "clip_norm": 3.0},
    "ffgsm": {"momentum": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_the_published_row(name):
    spec = TrainingSpec(recipe=name)
    fields = ("epochs", "optimizer", "lr", "batch_size", "weight_decay", "warmup_epochs", "min_lr", "schedule")
    assert tuple(getattr(spec, field) for field in fields) == PUBLISHED[name]
    assert {field: getattr(spec, field) for field in FURTHER.get(name, {})} == FURTHER.get(name, {})


@pytest.mark.parametrize("name", PRESETS)
def test_every_recipe_is_a_valid_training_with_a_source(name):
    recipe = PRESETS[name]
    spec = TrainingSpec(recipe=name)
    assert all(getattr(spec, field) == value for field, value in recipe.fields.items())
    assert "Gokce & Schrimpf" in recipe.source or recipe.source.startswith("assumption: ")
    assert "recipe" not in recipe.fields
    assert spec.for_samples(10**6) == spec, "the batch of the recipe has the rate of the recipe"


@pytest.mark.parametrize("name", PRESETS)
def test_every_recipe_fits_a_run_of_its_kind(make_study, name):
    objective = {"simclr-resnet": "simclr", "simclr-vit": "simclr", "dino": "dino", "ffgsm": "ffgsm"}
    study = make_study(
        training={"recipe": name, "cap_batch": True}, objective=objective.get(name, "supervised"), data_sizes=["all"]
    )
    (run,) = expand_study(study)
    assert run.training.epochs == PRESETS[name].fields["epochs"]


def test_defaults_then_the_recipe_then_the_study_then_the_family():
    study = TrainingSpec.model_validate({"recipe": "resnet", "lr": 0.4, "epochs": 20})
    spec = resolve_training(study, {"epochs": 30}, "here")
    defaults = TrainingSpec()
    assert spec.label_smoothing == defaults.label_smoothing
    assert spec.batch_size == 256 != defaults.batch_size, "the recipe's"
    assert spec.lr == 0.4, "the study's"
    assert spec.epochs == 30, "the family's"


def test_a_familys_recipe_replaces_the_studys_but_not_what_the_study_writes():
    study = TrainingSpec.model_validate({"recipe": "resnet", "lr": 0.4})
    spec = resolve_training(study, {"recipe": "convnext"}, "here")
    assert (spec.optimizer, spec.batch_size, spec.lr) == ("adamw", 4096, 0.4)
    assert resolve_training(study, {}, "here").optimizer == "sgd"


def test_an_unknown_recipe_is_refused_with_the_known():
    with pytest.raises(StudyError, match=r"unknown recipe 'resnets'; did you mean 'resnet'\? known: convnext"):
        resolve_training(TrainingSpec(), {"recipe": "resnets"}, "here")


@pytest.mark.parametrize("batch", [32, 256, 1024, 8192])
def test_a_rate_follows_the_batch_linearly(batch):
    """Goyal et al. 2017: 0.1 . batch / 256."""
    spec = TrainingSpec(recipe="resnet", batch_size=batch).for_samples(10**6)
    assert spec.lr == pytest.approx(0.1 * batch / 256)
    assert spec.min_lr == pytest.approx(1e-5 * batch / 256)
    assert spec.for_samples(10**6) == spec, "once"


@pytest.mark.parametrize("batch", [128, 512, 4096])
def test_a_rate_follows_the_root_of_the_batch(batch):
    """Chen et al. 2020: 0.075 sqrt(batch), 1.697 at 512 and 4.8 at 4096."""
    spec = TrainingSpec(recipe="simclr-resnet", batch_size=batch).for_samples(10**6)
    assert spec.lr == pytest.approx(0.075 * batch**0.5, rel=1e-3)


def test_a_rate_may_ignore_the_batch():
    spec = TrainingSpec(recipe="resnet", batch_size=64, lr_scaling="none").for_samples(10**6)
    assert spec.lr == 0.1


def test_a_capped_batch_has_its_own_rate():
    spec = TrainingSpec(recipe="small-resnet").for_samples(16)
    assert (spec.batch_size, spec.lr) == (16, 0.025)


def test_the_command_prints_sources_fields_and_deviations():
    from typer.testing import CliRunner

    printed = CliRunner().invoke(app, ["training", "simclr-resnet"])
    words = " ".join(printed.output.split())
    assert printed.exit_code == 0
    for part in ("simclr-resnet", "lars", "1.697", "Chen et al.", "2048 to 128"):
        assert part in words
    assert "convnext" not in words
    assert all(name in CliRunner().invoke(app, ["training"]).output for name in PRESETS)


def test_the_command_refuses_an_unknown_name_with_status_2():
    from typer.testing import CliRunner

    refused = CliRunner().invoke(app, ["training", "resnets"])
    assert refused.exit_code == 2
    assert "did you mean 'resnet'?" in refused.output + refused.stderr
