"""What a run occupies: which runs share a process, and what is refused."""

from __future__ import annotations

import pytest

from scaling.errors import StudyError
from scaling.specs.resources import ResourceSpec

# Fields: GPUs that a worker reserves, its threads, whether runs share a process
SHAPES = {
    "the default": ({}, 0, 1, False),
    "whole CPUs": ({"cpus_per_worker": 3}, 0, 3, False),
    "half a CPU": ({"cpus_per_worker": 0.5}, 0, 1, True),
    "half a CPU, as text": ({"cpus_per_worker": "0.5"}, 0, 1, True),
    "an eighth of a GPU": ({"gpus_per_worker": 0.125, "cpus_per_worker": 2}, 0.125, 2, True),
    "shares of both": ({"gpus_per_worker": 0.25, "cpus_per_worker": 0.5}, 0.25, 1, True),
    "a GPU": ({"gpus_per_worker": 1}, 1, 1, False),
    "a GPU and half a CPU": ({"gpus_per_worker": 1, "cpus_per_worker": 0.5}, 1, 1, False),
    "as many as train faster": ({"gpus_per_worker": "auto"}, 1 / 16, 1, True),
    "workers of half a GPU": ({"workers": 2, "gpus_per_worker": 0.5}, 0.5, 1, False),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shares_say_which_runs_train_in_one_process(case):
    fields, gpus, threads, together = SHAPES[case]
    shape = ResourceSpec(**fields)
    assert (shape.gpus, shape.threads, shape.side_by_side) == (gpus, threads, together)
    assert ResourceSpec.model_validate_json(shape.model_dump_json()) == shape


def test_whole_numbers_stay_what_they_are_in_stores_of_before():
    assert '"cpus_per_worker":1,"gpus_per_worker":0.0,' in ResourceSpec().model_dump_json()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cpus_per_worker", 0, ["greater than 0"]),
        ("cpus_per_worker", 1.5, ["a whole number or less than 1"]),
        ("cpus_per_worker", -0.5, ["greater than 0"]),
        ("gpus_per_worker", -1, ["greater than or equal to 0", "'auto'"]),
        ("gpus_per_worker", "most", ["'auto'"]),
    ],
)
def test_impossible_shares_are_refused(make_study, field, value, words):
    with pytest.raises(StudyError) as raised:
        make_study(resources={field: value})
    assert f"resources.{field}=" in str(raised.value)
    assert [word for word in words if word not in str(raised.value)] == [], str(raised.value)
