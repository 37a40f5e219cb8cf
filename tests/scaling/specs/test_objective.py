"""Objectives in a study file: what is read, hashed and refused."""

from __future__ import annotations

import json

import pytest

from scaling.errors import StudyError
from scaling.specs.objective import (
    SPECS,
    SimCLRSpec,
    canonical_objective,
    check_objective,
    objective_spec,
    read_objective,
)
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.specs.training import TrainingSpec
from scaling.study import parse_study
from scaling.train.objectives.registry import OBJECTIVES


def test_every_objective_has_options_and_a_class():
    assert set(SPECS) == set(OBJECTIVES)
    assert all(spec().name == name for name, spec in SPECS.items())


@pytest.mark.parametrize("name", SPECS)
def test_a_name_and_a_mapping_of_defaults_are_one_run(make_run, name):
    plain, full = make_run(objective=name), make_run(objective=SPECS[name]().model_dump())
    assert plain.objective == full.objective == name
    assert plain.run_id == full.run_id


def test_options_survive_json_and_change_the_id(make_run, make_study):
    run = make_run(objective={"name": "simclr", "temperature": "0.1"})
    assert run.objective == SimCLRSpec(temperature=0.1)
    assert RunSpec.model_validate_json(run.model_dump_json()) == run
    assert RunSpec.model_validate(run.model_dump(mode="json")) == run
    ids = {make_run(objective=value).run_id for value in [*SPECS, {"name": "simclr", "temperature": 0.1}]}
    assert len(ids) == len(SPECS) + 1
    study = make_study(objective={"name": "ffgsm", "epsilon": 1})
    assert StudySpec.model_validate_json(study.model_dump_json()) == study


def test_a_supervised_run_is_hashed_and_written_as_before_objectives_had_options(make_run):
    run = make_run()
    assert json.loads(run.model_dump_json())["objective"] == "supervised"
    assert run.run_id == "00219b3e06de"


BAD = {
    "name": ("simcrl", r"unknown objective 'simcrl'; did you mean 'simclr'\? .*dino.*study, objective\)"),
    "kind": (3, r"objective=3 is neither a name nor a mapping"),
    "no name": ({"temperature": 1}, r"neither a name nor a mapping with a name"),
    "option": ({"name": "simclr", "temperatur": 1}, r"unknown option 'temperatur' of .*'simclr'; did you mean 'temp"),
    "other's option": ({"name": "dino", "epsilon": 1}, r"unknown option 'epsilon' of objective 'dino'"),
    "value": ({"name": "ffgsm", "epsilon": 0}, r"epsilon=0 of objective 'ffgsm': .*greater than 0"),
    "type": ({"name": "harmonizer", "weight": "much"}, r"weight='much' of objective 'harmonizer'"),
    "place": ({"name": "ffgsm", "start_from": "results/base"}, r"start_from='results/base' of .*give an absolute path"),
    "cold": ({"name": "dino", "warmup_temperature": 0.02}, r"warmup_temperature=0.02 is for a warm-up; give temp"),
    "hot": (
        {"name": "dino", "warmup_temperature": 0.08, "temperature_warmup_epochs": 1},
        r"warmup_temperature=0.08 exceeds teacher_temperature=0.04",
    ),
    "range": ({"name": "dino", "local_area": [0.5, 0.1]}, r"local_area=\[0.5, 0.1\] begins above its end"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_unknown_or_impossible_is_refused(make_study, case):
    value, message = BAD[case]
    with pytest.raises(StudyError, match=message):
        make_study(objective=value)


UNUSED = {
    "augmentation": "crop_flip", "label_smoothing": 0.1, "policy": "randaugment", "colour_jitter": 0.3, "erasing": 0.25,
    "repeated_augmentation": 3, "loss": "soft_cross_entropy",
}  # fmt: skip
SOFT = {"loss": "soft_cross_entropy"}


@pytest.mark.parametrize("field", UNUSED)
@pytest.mark.parametrize("objective", ["simclr", "dino"])
def test_what_a_self_supervised_objective_does_not_use_is_refused(make_study, objective, field):
    message = rf"{field}={UNUSED[field]!r} has no meaning for objective '{objective}', which makes its own views"
    with pytest.raises(StudyError, match=message):
        make_study(objective=objective, training={field: UNUSED[field]})
    make_study(objective="ffgsm", training={field: UNUSED[field]})


@pytest.mark.parametrize(
    ("objective", "training", "message"),
    [
        ("simclr", {"mixup": 0.8} | SOFT, r"mixup=0.8 has no meaning .*training.mixup\); set it to 0.0"),
        ("harmonizer", {"cutmix": 1.0} | SOFT, r"cutmix=1.0 .*'harmonizer', whose maps cannot be mixed"),
        ("dino", {"ema": 0.99}, r"ema=0.99 has no meaning .*whose teacher is the average that is kept"),
        ({"name": "dino", "frozen_epochs": 3}, {"epochs": 3}, r"frozen_epochs=3 .* leaves none of epochs=3"),
        (
            {"name": "dino", "temperature_warmup_epochs": 30, "teacher_temperature": 0.07},
            {"epochs": 20},
            r"temperature_warmup_epochs=30 of objective 'dino' leaves none of epochs=20 .*train longer",
        ),
    ],
)
def test_what_contradicts_the_objective_is_refused(make_study, objective, training, message):
    with pytest.raises(StudyError, match=message):
        make_study(objective=objective, training=training)


@pytest.mark.parametrize("objective", ["simclr", "dino"])
def test_a_loss_that_compares_images_is_not_cut_into_micro_batches(objective):
    training = TrainingSpec(batch_size=15)
    message = r"micro_batch=7 is less than the 8 images that each of 2 workers has of batch_size=15, and objective"
    with pytest.raises(StudyError, match=message):
        check_objective(objective, training, 2, "study", 7)
    for workers, micro_batch in [(2, 8), (2, None), (3, 7)]:
        check_objective(objective, training, workers, "study", micro_batch)
    for other in ("supervised", "ffgsm", "harmonizer"):
        check_objective(other, training, 1, "study", 1)


def test_a_family_is_checked_with_its_own_overrides(make_study):
    family = {"family": "resnet", "sizes": [2], "training": {"erasing": 0.1}}
    with pytest.raises(StudyError, match=r"models\[0\], training.erasing"):
        make_study(objective="dino", models=[family])
    assert parse_study(make_study(objective="ffgsm", models=[family]).model_dump()).objective == "ffgsm"


def test_options_that_came_later_leave_older_ids_alone(make_run):
    """dino's as it was before its teacher's temperature had a warm-up; set, they count."""
    later = SPECS["dino"].later
    assert not later & set(canonical_objective("dino"))
    changed = read_objective({"name": "dino", "frozen_epochs": 1})
    assert canonical_objective(changed)["frozen_epochs"] == 1
    assert make_run(objective=changed).run_id != make_run(objective="dino").run_id


def test_passes_are_counted_from_what_is_done():
    dino, weights = {"name": "dino", "local_crops": 8}, {"name": "harmonizer", "weight": 0}
    cases = ["supervised", "simclr", dino, "ffgsm", weights]
    passes = [objective_spec(read_objective(case)).passes for case in cases]
    assert passes == [3, 6, 10 * 3 + 2, 2 + 3, 3]
    assert objective_spec("harmonizer").passes == pytest.approx(2.1 * 3)
