"""Objectives in a study file: what is read, hashed and refused."""

from __future__ import annotations

import json

import pytest

from scaling.errors import StudyError
from scaling.study import RunSpec, StudySpec, parse_study
from scaling.train.objectives.registry import OBJECTIVES
from scaling.train.objectives.spec import SPECS, SimCLRSpec, objective_spec, read_objective


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
    "range": ({"name": "dino", "local_area": [0.5, 0.1]}, r"local_area=\[0.5, 0.1\] begins above its end"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_unknown_or_impossible_is_refused(make_study, case):
    value, message = BAD[case]
    with pytest.raises(StudyError, match=message):
        make_study(objective=value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources": {"workers": 2}}, r"workers=2 exceeds the 1 that objective 'simclr' trains with"),
        (
            {"training": {"augmentation": "crop_flip"}},
            r"augmentation='crop_flip' has no meaning for objective 'simclr'",
        ),
        ({"training": {"label_smoothing": 0.1}}, r"label_smoothing=0.1 has no meaning .*set it to 0.0"),
    ],
)
def test_what_contradicts_the_objective_is_refused(make_study, changes, message):
    with pytest.raises(StudyError, match=message):
        make_study(objective="simclr", **changes)


def test_a_family_is_checked_with_its_own_overrides(make_study):
    family = {"family": "resnet", "sizes": [2], "resources": {"workers": 2}}
    with pytest.raises(StudyError, match=r"models\[0\], resources.workers"):
        make_study(objective="dino", models=[family])
    assert parse_study(make_study(objective="ffgsm", models=[family]).model_dump()).objective == "ffgsm"


def test_passes_are_counted_from_what_is_done():
    dino, weights = {"name": "dino", "local_crops": 8}, {"name": "harmonizer", "weight": 0}
    cases = ["supervised", "simclr", dino, "ffgsm", weights]
    passes = [objective_spec(read_objective(case)).passes for case in cases]
    assert passes == [3, 6, 10 * 3 + 2, 2 + 3, 3]
    assert objective_spec("harmonizer").passes == pytest.approx(2.1 * 3)
