"""`tune:` in a study file: what is refused, in words that name field, value, limit and remedy."""

from __future__ import annotations

import pytest

from scaling.errors import StudyError
from scaling.specs.tune import TuneSpec
from scaling.study import expand_study, parse_study

RANGE = {"lr": {"log": [0.003, 1]}}
STUDY = {
    "name": "tiny", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2]}],
    "data_sizes": [4], "training": {"epochs": 4, "batch_size": 10}, "benchmarks": ["simulated-ventral-stream.IT"],
}  # fmt: skip


def tuned(tune: dict | None = None, **changes: object):
    return parse_study({**STUDY, "tune": {"how": "probe", "fields": RANGE} | (tune or {}), **changes})


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ({"how": "grid"}, ["tune.how='grid'", "'probe', 'each' or 'none'"]),
        ({"fields": {}}, ["tune.fields", "at least 1"]),
        ({"fields": {"weight_decay": {"log": [1e-5, 1e-2]}}}, ["fields has no lr (weight_decay)", "add lr: {log: …}"]),
        ({"fields": RANGE | {"epochs": {"log": [1, 9]}}}, ["fields.epochs is no training field that can be tuned"]),
        ({"fields": RANGE | {"wieght_decay": {"log": [1, 9]}}}, ["did you mean 'weight_decay'"]),
        ({"fields": {"lr": {"log": [1, 0.1]}}}, ["the range from 1 to 0.1 is empty", "smaller number first"]),
        ({"fields": {"lr": {"log": [0.1, 0.1]}}}, ["the range from 0.1 to 0.1 is empty"]),
        ({"fields": {"lr": {"log": [0, 0.1]}}}, ["a log range begins above 0, not at 0"]),
        ({"fields": {"lr": {"log": [0.1]}}}, ["tune.fields.lr.log=[0.1]: two numbers", "{log: [low, high]}"]),
        ({"fields": {"lr": {"log": [0.1, 1, 3]}}}, ["tune.fields.lr.log=[0.1, 1, 3]: two numbers"]),
        ({"fields": {"lr": {"log": 0.1}}}, ["tune.fields.lr.log=0.1: two numbers"]),
        ({"families": {"resnet": {"lr": 0.1}}}, ["tune.families.resnet.lr=0.1: a range is {log: [low, high]}"]),
        (
            {"fields": {"lr": {"log": [0.1, 0.1001]}}},
            ["fields.lr from 0.1 to 0.1001 is too narrow", "trials=9, are 1 "],
        ),
        ({"fields": {"lr": {"log": [0.1, 0.106]}}}, ["are 7 different ones; widen it, or lower trials to 7"]),
        ({"trials": 1000}, ["fields.lr from 0.003 to 1 is too narrow", "lower trials to "]),
        ({"families": {"resnet": {"lr": {"log": [0.1, 0.1001]}}}}, ["families.resnet.lr from 0.1 to 0.1001"]),
        (
            {"fields": RANGE | {"weight_decay": {"log": [1e-4, 1.001e-4]}}},
            ["fields.weight_decay from 0.0001 to 0.0001"],
        ),
        ({"fields": {"lr": {"log": [1e-300, 1e300]}}}, ["from 1e-300 to 1e+300 spans more than 1e+06-fold"]),
        ({"fields": RANGE | {"weight_decay": {"log": [1e-9, 1]}}}, ["spans more than 1e+06-fold"]),
        ({"fields": RANGE | {"momentum": {"uniform": [0.5, 0.9999]}}}, ["momentum", "less than 1"]),
        ({"fields": {"lr": {"log": [0.1, "inf"]}}}, ["tune.fields.lr.log", "finite"]),
        ({"fields": {"lr": {}}}, ["a range is {log: [low, high]} or {uniform: [low, high]}"]),
        ({"fields": {"lr": {"log": [0.1, 1], "uniform": [0.1, 1]}}}, ["give one of the two"]),
        ({"fields": {"lr": {"uniform": [0.1, 1]}}}, ["fields.lr is uniform", "write lr: {log: [low, high]}"]),
        ({"fields": {"lr": 0.1}}, ["tune.fields.lr=0.1: a range is {log: [low, high]}"]),
        ({"fields": RANGE | {"momentum": {"uniform": [0.5, 1]}}}, ["momentum", "less than 1"]),
        ({"fields": RANGE | {"weight_decay": {"uniform": [-1, 1]}}}, ["weight_decay", "greater than or equal to 0"]),
        ({"families": {"vit": RANGE}}, ["tune.families names 'vit'", "known: resnet"]),
        ({"families": {"resnet": {"momentum": {"uniform": [0, 0.9]}}}}, ["families.resnet.momentum is none of the"]),
        ({"families": {"resnet": {"lr": {"uniform": [0.1, 1]}}}}, ["families.resnet.lr is uniform"]),
        ({"trials": 1}, ["tune.trials=1", "greater than or equal to 4"]),
        ({"share": 0}, ["tune.share=0", "greater than 0"]),
        ({"share": 0.6}, ["share=0.6 exceeds 0.5", "how: each"]),
        ({"validation": 0.7}, ["tune.validation=0.7", "0.5"]),
        ({"validation": 0}, ["tune.validation=0", "greater than 0"]),
        ({"grace_epochs": 0}, ["tune.grace_epochs=0"]),
        ({"grace_epochs": 5}, ["tune.grace_epochs=5 exceeds epochs=4", "models[0]", "lower it"]),
        ({"reduction": 1}, ["tune.reduction=1", "greater than 1"]),
        ({"trails": 9}, ["unknown field 'tune.trails'", "did you mean 'trials'"]),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_refused(tune: dict, words: list[str]) -> None:
    with pytest.raises(StudyError) as refused:
        tuned(tune)
    for word in words:
        assert word in str(refused.value), refused.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"training": {"epochs": 4, "batch_size": 10, "lr": 0.1}},
            ["lr is tuned (tune.fields) and fixed to 0.1 by training"],
        ),
        (
            {"models": [{"family": "resnet", "depth": 10, "sizes": [2], "training": {"lr": 0.2}}]},
            ["lr is tuned (tune.fields) and fixed to 0.2 by the family's training", "models[0]", "remove one"],
        ),
        (
            {"training": {"epochs": 4, "batch_size": 10, "min_lr": 0.01}},
            ["min_lr=0.01 exceeds the least lr that is tried, 0.003", "raise tune.fields.lr"],
        ),
    ],
)
def test_a_tuned_field_is_not_fixed_too(changes: dict, words: list[str]) -> None:
    with pytest.raises(StudyError) as refused:
        tuned(**changes)
    for word in words:
        assert word in str(refused.value), refused.value


@pytest.mark.parametrize(
    ("field", "changes", "words"),
    [
        ({"momentum": {"uniform": [0.5, 0.9]}}, {"training": {"optimizer": "adamw"}}, "fields.momentum .*=adamw"),
        ({"label_smoothing": {"uniform": [0, 0.2]}}, {"objective": "simclr"}, "fields.label_smoothing .* 'simclr'"),
        (
            {"drop_path": {"uniform": [0, 0.5]}},
            {"dataset": {"name": "digits", "image_size": 64}, "models": [{"family": "alexnet", "sizes": [8]}]},
            "drop_path=.* alexnet w8 has none .*leave it out of tune.fields",
        ),
    ],
)
def test_a_field_that_a_family_does_not_use_is_not_searched(field: dict, changes: dict, words: str) -> None:
    with pytest.raises(StudyError, match=words) as refused:
        tuned({"fields": RANGE | field}, **changes)
    assert "models[0]" in str(refused.value)
    assert "study of its own" in str(refused.value)


@pytest.mark.parametrize("tune", [{}, {"tune": None}])
def test_a_name_leaves_room_for_what_stands_beside(tune: dict) -> None:
    assert tuned(**tune, name="n" * 193).name
    with pytest.raises(StudyError, match=r"194 bytes exceeds 193: .* NAME.probes and NAME.verify .*shorten it"):
        tuned(**tune, name="n" * 194)


def test_none_is_as_if_it_was_not_there() -> None:
    fixed = {"epochs": 4, "batch_size": 10, "lr": 0.1}
    off = expand_study(tuned({"how": "none"}, training=fixed))
    assert [run.run_id for run in off] == [run.run_id for run in expand_study(parse_study(STUDY | {"training": fixed}))]


def test_a_presets_rate_gives_way() -> None:
    (run,) = expand_study(tuned(training={"preset": "small-resnet", "epochs": 4, "batch_size": 10}))
    assert run.training.lr == 0.0548  # the middle of the range


def test_ranges_are_even_and_rounded() -> None:
    found = TuneSpec.model_validate({"how": "each", "fields": RANGE | {"momentum": {"uniform": [0.5, 0.9]}}})
    assert [found.fields["lr"].at(share) for share in (0, 0.5, 1)] == [0.003, 0.0548, 1.0]
    assert [found.fields["momentum"].at(share) for share in (0, 0.25, 1)] == [0.5, 0.6, 0.9]
    assert [found.grace(epochs) for epochs in (1, 4, 7)] == [1, 2, 4]
