"""What no study means is refused, whatever the field; in a study's words, and without secrets."""

from __future__ import annotations

import math

import pytest

from scaling.errors import StudyError
from scaling.ledger import open_study

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}


def nested(path: str, value: object) -> dict[str, object]:
    """'training.lr' -> {"training": {"lr": value}}, with what a model or an objective needs beside it."""
    head, _, rest = path.partition(".")
    inner = nested(rest, value) if rest else value
    if head == "models":
        return {"models": [RESNET | inner]}
    beside = {"objective": {"name": "simclr"}, "dataset": {"name": "digits"}}.get(head, {})
    return {head: beside | inner if isinstance(inner, dict) else inner}


NUMBERS = [
    "training.lr", "training.epochs", "training.weight_decay", "training.warmup_epochs", "training.ema", "max_failures",
    "resources.gpus_per_worker", "resources.workers", "scoring.cpus", "scoring.memory_gb", "scoring.degrees",
    "dataset.image_size", "objective.temperature", "models.depth", "models.training.lr", "models.resources.workers",
]  # fmt: skip


def refused(make_study, changes: dict[str, object]) -> str:
    with pytest.raises(StudyError) as raised:
        make_study(**changes)
    message = str(raised.value)
    jargon = ["tuple", "dictionary", "instance of", "valid string", "unable to", "Spec", "pydantic", "validation"]
    assert [word for word in jargon if word in message] == [], message
    return message


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_is_finite(make_study, field, value):
    assert "finite" in refused(make_study, nested(field, value))


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("field", NUMBERS)
def test_true_is_no_number(make_study, field, value):
    message = refused(make_study, nested(field, value))
    assert f"{field.rpartition('.')[2]}={value}" in message
    assert f"{str(value).lower()} is no number" in message


@pytest.mark.parametrize("field", ["storage", "mlflow", "name", "dataset", "dataset.path", "scoring.cache"])
@pytest.mark.parametrize("value", ["", "  "])
def test_text_is_not_empty(make_study, field, value):
    message = refused(make_study, nested(field, value))
    assert f"{field}={value!r}: the text is empty" in message


def test_a_storage_by_the_command_line_is_not_empty(make_study):
    with pytest.raises(StudyError, match="storage='' names no place"):
        open_study(make_study(), "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [True]}, ["seeds=[True]: true is no number"]),
        ({"data_sizes": [2, False]}, ["data_sizes=[2, False]: false is no number"]),
        ({"checkpoints": {"score": [{"every": True}]}}, ["every: true is no number"]),
        ({"models": [RESNET | {"sizes": [{"params": math.inf}]}]}, ["params: Input should be a finite number"]),
        ({"models": [RESNET | {"sizes": [{"width": True}]}]}, ["width: true is no number"]),
        ({"seeds": 3}, ["seeds=3: Input should be a list: write [3]"]),
        ({"data_sizes": "all"}, ["data_sizes='all': Input should be a list: write [all]"]),
        ({"models": {"family": "resnet"}}, ["Input should be a list"]),
        ({"training": 5}, ["training=5: Input should be `name: value` pairs"]),
        ({"models": [RESNET | {"training": [1]}]}, ["models[0].training=[1]: Input should be `name: value` pairs"]),
        ({"name": 7}, ["name=7: Input should be text: write '7'"]),
        ({"name": "a/b"}, ["'a/b' must consist of letters"]),
        ({"name": "a\nb"}, [r"'a\nb' must consist of letters"]),
        ({"name": "ü" * 101}, ["202 bytes exceeds 193", "NAME.probes and NAME.verify"]),
        ({"seeds": [1.5]}, ["seeds[0]=1.5: Input should be a whole number"]),
        ({"training": {"epochs": "ten"}}, ["training.epochs='ten'", "integer"]),
        ({"training": {"optimizer": "AdamW"}}, ["'sgd', 'adamw' or 'lars'; did you mean 'adamw'?"]),
        ({"epochs": 3}, ["epochs=3", "list: write [3]"]),
        ({"batch_size": 3}, ["unknown field 'batch_size'", "did you mean 'training.batch_size'?"]),
        ({"stroage": "x"}, ["did you mean 'storage'?"]),
        ({"benchmarks": []}, ["at least 1"]),
        ({"seeds": "x" * 1000}, ["(1,002 characters)"]),
    ],
)
def test_what_is_wrong_is_said_in_a_studys_words(make_study, changes, words):
    message = refused(make_study, changes)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


def test_a_value_that_holds_a_password_does_not_show_it(make_study):
    message = refused(make_study, {"mlflow": {"uri": "http://me:s3cret@host"}})
    assert "http://***@host" in message
    assert "s3cret" not in message


def test_text_is_read_as_the_number_that_it_is(make_study):
    study = make_study(training={"epochs": "3", "lr": "1e-3", "batch_size": "010"}, seeds=["1"])
    assert (study.training.epochs, study.training.lr, study.training.batch_size, study.seeds) == (3, 1e-3, 10, (1,))
