"""What follows from a training's length: decays and shares by brute force, what is refused, what presets adapt."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.errors import StudyError
from scaling.specs.horizon import adaptations, average_decay, steps_per_epoch
from scaling.specs.presets import CONVNEXT_HALF_LIFE, DEIT3_HALF_LIFE, PRESETS
from scaling.specs.run import RunSpec, check_batches
from scaling.specs.training import LONGEST_HALF_LIFE, TrainingSpec, resolve_training

IMAGENET = 1_281_167


def brute_share(spec: TrainingSpec, steps: int) -> float:
    """What is left of 1 after every step of the average."""
    left = 1.0
    for step in range(spec.epochs * steps):
        left *= average_decay(spec, step, steps)
    return left


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 200), st.floats(1e-4, LONGEST_HALF_LIFE))
def test_an_average_follows_its_training_whatever_the_length(epochs, steps, share):
    """The published decay left 91 % of the initial weights after 960 steps."""
    assert brute_share(TrainingSpec(epochs=epochs, ema=0.9999), steps) == pytest.approx(0.9999 ** (epochs * steps))
    assert brute_share(TrainingSpec(epochs=epochs, ema_half_life_share=share), steps) < 1e-3


def test_a_half_life_halves_and_its_two_units_agree():
    units = {"ema_half_life_share": 0.05, "ema_half_life_epochs": 1}
    decays = {average_decay(TrainingSpec(epochs=20, **{name: value}), 3999, 200) for name, value in units.items()}
    assert len(decays) == 1
    assert decays.pop() ** 200 == pytest.approx(0.5), "0.05 of 4,000 steps, or 1 epoch of 200"
    spec = TrainingSpec(epochs=20, ema_half_life_share=0.05)
    assert [average_decay(spec, step, 200) for step in (0, 1, 8)] == [1 / 10, 2 / 11, 9 / 18]


@pytest.mark.parametrize("steps", [1000, 100_000])
def test_the_longest_half_life_is_what_the_warmup_allows_in_the_end(steps):
    longest = TrainingSpec(epochs=1, ema_half_life_share=LONGEST_HALF_LIFE)
    assert average_decay(longest, steps - 1, steps) == pytest.approx(2 ** (-1 / (LONGEST_HALF_LIFE * steps)), abs=1e-4)
    warmup = average_decay(longest.model_copy(update={"ema_half_life_share": 1.0}), steps - 1, steps)
    assert math.log(2) / -math.log(warmup) / steps == pytest.approx(LONGEST_HALF_LIFE, rel=6e-3)


@pytest.mark.parametrize("written", [{"ema_half_life_share": 0.1}, {"ema_half_life_epochs": 3, "epochs": 30}])
def test_a_half_life_that_a_training_never_reaches_is_refused(make_study, written):
    with pytest.raises(
        StudyError, match=r"ema_half_life_\w+=\S+ is above 0\.077 \(ln 2 / 9\) of the training.*lower it"
    ):
        make_study(training=written)


@pytest.mark.parametrize(("share", "batch"), [(CONVNEXT_HALF_LIFE, 4096), (DEIT3_HALF_LIFE, 2048)])
def test_the_presets_half_life_is_that_of_the_published_decay(share, batch):
    steps = 300 * steps_per_epoch(IMAGENET, batch)
    half_life = math.log(2) / -math.log(0.9999)
    assert share == pytest.approx(half_life / steps, rel=1e-3)
    spec = TrainingSpec(preset={4096: "convnext", 2048: "deit3"}[batch])
    assert average_decay(spec, steps - 1, steps // 300) == pytest.approx(0.9999, rel=1e-6)


def test_a_decay_a_step_stays_as_it_is_written():
    """Runs that were trained with it keep their numbers: no warm-up."""
    spec = TrainingSpec(ema=0.9999)
    assert {average_decay(spec, step, 7) for step in (0, 1, 1000)} == {0.9999}


def test_one_spelling_takes_the_place_of_anothers_below_it():
    assert TrainingSpec(preset="convnext", ema=0.99).ema_half_life_share is None
    assert not TrainingSpec(preset="convnext", ema=0).averages
    study = TrainingSpec(ema_half_life_share=0.07)
    family = resolve_training(study, {"ema_half_life_epochs": 0.3}, "here")
    assert (family.ema_half_life_share, family.ema_half_life_epochs) == (None, 0.3)
    assert TrainingSpec.model_validate(family.model_dump()) == family


def test_two_spellings_at_one_place_are_refused(make_study):
    for other in ({"ema_half_life_share": 0.07}, {"ema_half_life_epochs": 0.1}):
        with pytest.raises(StudyError, match=r"ema=0\.9 and ema_half_life_\w+=\S+ are one thing.*keep one"):
            make_study(training={"ema": 0.9, "epochs": 2, "batch_size": 10} | other)


def averaged(make_run, **training: object) -> RunSpec:
    return make_run(data_sizes=[100], training={"epochs": 30, "batch_size": 32} | training)


def test_a_decay_that_cannot_hold_at_a_runs_length_is_refused(make_run):
    run = averaged(make_run, ema=0.9999)
    message = (
        r"ema=0\.9999 leaves 0\.9999\^960 = 90\.8% of the initial weights .*above 1% \(960 steps: 30 epochs of "
        r"1,000 images by 32; resnet-10 w2.*here\); write training.ema_half_life_share .*lower ema to 0\.9952, or train"
    )
    with pytest.raises(StudyError, match=message):
        check_batches(run, 1000, "here")
    check_batches(averaged(make_run, ema=0.9952), 1000, "here")
    with pytest.raises(StudyError, match=r"lower ema to 0\.9952"):
        check_batches(averaged(make_run, ema=0.9953), 1000, "here")
    check_batches(run, 60_000, "here")


def test_a_teacher_that_stays_what_it_began_as_is_refused(make_run):
    """DINO's is an average too, and what is kept: 0.996 a step at first."""
    run = make_run(objective="dino", training={"epochs": 10, "batch_size": 10}, data_sizes=[10])
    with pytest.raises(StudyError, match=r"teacher_momentum=0\.996 of objective 'dino' leaves 81\.7% .*lower obj"):
        check_batches(run, 100, "here")
    check_batches(run, 3000, "here")
    lower = make_run(objective={"name": "dino", "teacher_momentum": 0.908}, training=run.training.model_dump())
    check_batches(lower, 100, "here")


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.fields.get("warmup_epochs")])
def test_a_presets_warmup_keeps_its_share_of_the_training(name):
    fields = PRESETS[name].fields
    published = TrainingSpec(preset=name)
    assert (published.warmup_epochs, type(published.warmup_epochs)) == (fields["warmup_epochs"], int)
    for epochs in (1, 3, 45, 900):
        spec = TrainingSpec(preset=name, epochs=epochs)
        assert spec.warmup_epochs / epochs == pytest.approx(fields["warmup_epochs"] / fields["epochs"])
        assert resolve_training(TrainingSpec(preset=name), {"epochs": str(epochs)}, "here") == spec
    assert TrainingSpec(preset=name, epochs=50, warmup_epochs=3).warmup_epochs == 3, "what is written is not scaled"


def test_whole_warmups_keep_their_ids():
    ids = {repr(TrainingSpec(epochs=9, warmup_epochs=value).identity()) for value in (2, 2.0)}
    assert len(ids) == 1
    assert "'warmup_epochs': 2," in ids.pop()


def test_adaptations_say_what_changed(make_run):
    run = averaged(make_run, preset="convnext", batch_size=4096, cap_batch=True)
    lines = adaptations(run.training, 960)
    assert lines[0] == "preset convnext: warmup_epochs 20 of 300 -> 2 of 30 (the same share)"
    assert lines[1].startswith("batch_size 4,096 -> 960, lr 0.004 -> 0.000937 (960 images")
    assert lines[2].startswith("average of the weights: half-life 2.2 of 30 steps, decay 0.73")
    assert adaptations(run.training) == lines[:1]
    written = averaged(make_run, preset="resnet", batch_size=256, warmup_epochs=5)
    assert adaptations(written.training) == [
        "preset resnet: warmup_epochs 5 of 100 -> 5 of 30 (as the study writes it, no longer the same share)"
    ]
    assert adaptations(make_run().training, 20) == []
