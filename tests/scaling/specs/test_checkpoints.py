"""Checkpoint schedules: which epochs they name, what may be deleted, what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import StudyError
from scaling.specs.checkpoints import CheckpointSpec, EverySpec, GeometricSpec, schedule_epochs
from scaling.specs.study import StudySpec

PUBLISHED_300 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100,
                 150, 200, 250, 300]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "last", "epochs"),
    [
        (0, 9, [0]),
        (12, 9, [12]),  # refused by the study, which knows the run
        ("last", 9, [9]),
        ("published", 300, PUBLISHED_300),
        ("published", 100, PUBLISHED_300[:28]),
        ("published", 12, PUBLISHED_300[:10]),
        ({"every": 5}, 21, [5, 10, 15, 20]),
        ({"every": 5, "start": 0}, 10, [0, 5, 10]),
        ({"every": 3, "start": 1, "stop": 8}, 20, [1, 4, 7]),
        ({"every": 3, "stop": 9}, 20, [3, 6, 9]),
        ({"geometric": 2}, 40, [1, 2, 4, 8, 16, 32]),
        ({"geometric": 1.5}, 60, [1, 2, 3, 5, 8, 11, 17, 26, 38, 58]),
        ({"geometric": 10.0}, 99, [1, 10]),
    ],
)
def test_an_entry_names_its_epochs(entry, last, epochs):
    (parsed,) = CheckpointSpec(keep=[entry]).keep
    assert schedule_epochs((parsed,), last) == tuple(epochs)


@given(st.floats(1.01, 20), st.integers(1, 400))
def test_geometric_is_the_rounded_powers(ratio, last):
    """Closed form: the last power that can round to `last` is log(last + 1/2) / log(ratio)."""
    powers = range(math.ceil(math.log(last + 0.5) / math.log(ratio)) + 1)
    expected = sorted({round(ratio**power) for power in powers if round(ratio**power) <= last})
    assert GeometricSpec(geometric=ratio).epochs(last) == expected


@given(st.integers(1, 50), st.integers(0, 60), st.integers(1, 200))
def test_every_is_the_multiples_from_its_start(every, start, last):
    expected = [epoch for epoch in range(last + 1) if epoch >= start and (epoch - start) % every == 0]
    assert EverySpec(every=every, start=start).epochs(last) == expected


def test_entries_unite(make_run):
    wanted = {"keep": [0, {"every": 4}, {"geometric": 2}], "score": ["published", "last"]}
    run = make_run(checkpoints=wanted, training={"epochs": 13})
    assert run.score_epochs == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13)
    assert run.keep_epochs == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13)


@pytest.mark.parametrize(
    ("wanted", "prunable"),
    [
        ({"score": [1, 2, 9]}, ()),
        ({"score": [1, 2, 9], "prune": "never"}, ()),
        ({"score": [0, 1, 2, "last"], "prune": "scored"}, (0, 1, 2)),
        ({"score": [1, 2, 9], "keep": [], "prune": "scored"}, (1, 2)),
        ({"score": [{"every": 2}], "keep": [{"every": 4}, 6], "prune": "scored"}, (2,)),
        ({"score": [3], "keep": [1, 2], "prune": "scored"}, (3,)),
    ],
)
def test_what_is_only_scored_may_go(wanted, prunable):
    assert CheckpointSpec(**wanted).prunable(9) == prunable


def test_a_spec_comes_back_from_its_own_fields(make_study):
    study = make_study(checkpoints={"keep": [1, {"every": 1, "start": 0}], "score": [{"geometric": 1.5}, "published"]})
    assert StudySpec.model_validate(study.model_dump()) == study
    assert StudySpec.model_validate_json(study.model_dump_json()) == study


@pytest.mark.parametrize(
    ("checkpoints", "words"),
    [
        ({"score": [{"evry": 5}]}, ["checkpoints.score[0]=", "unknown field 'evry'", "did you mean 'every'?"]),
        ({"keep": [{"geometrc": 2}]}, ["checkpoints.keep[0]=", "did you mean 'geometric'?", "known: every"]),
        ({"keep": [{"geometric": 2, "every": 3}]}, ["unknown field 'every'", "known: geometric"]),
        ({"keep": [{}]}, ["checkpoints.keep[0]={}", "every: Field required"]),
        ({"keep": ["last", {"every": 0}]}, ["checkpoints.keep[1]=", "every: Input should be greater than 0"]),
        ({"keep": [{"every": 2, "start": -1}]}, ["start: Input should be greater than or equal to 0"]),
        ({"keep": [{"every": 5, "stop": 4}]}, ["stop=4 lies before the first epoch, 5", "lower start"]),
        ({"keep": [{"geometric": 1}]}, ["checkpoints.keep[0]=", "greater than or equal to 1.01"]),
        ({"keep": [{"geometric": float("inf")}]}, ["checkpoints.keep[0]=", "finite number"]),
        ({"keep": ["lst"]}, ["checkpoints.keep[0]='lst'", "'last', 'published', {every: 5} or {geometric: 1.5}"]),
        ({"keep": [2.5]}, ["checkpoints.keep[0]=2.5", "greater than or equal to 0"]),
        ({"keep": [True]}, ["checkpoints.keep[0]=True", "greater than or equal to 0"]),
        ({"keep": [3]}, ["epoch 3 exceed epochs=2", "checkpoints"]),
        ({"keep": [{"every": 2, "stop": 4}]}, ["epoch 4 exceed epochs=2", "checkpoints"]),
        ({"score": [{"every": 3}]}, ["{every: 3} names no epoch of a run of epochs=2", "checkpoints"]),
        ({"prune": "always"}, ["checkpoints.prune='always'", "'never' or 'scored'"]),
        ({"purge": "scored"}, ["unknown field 'checkpoints.purge'", "did you mean 'prune'?"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(make_study, checkpoints, words):
    with pytest.raises(StudyError) as error:
        make_study(checkpoints=checkpoints)
    assert [word for word in words if word not in str(error.value)] == [], str(error.value)
    assert "\n" not in str(error.value)
