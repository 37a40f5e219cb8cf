"""Rates in a study's folder: who has which, that ids are those of rates by hand, and that they stay."""

from __future__ import annotations

import json

import pytest

from scaling.errors import DamagedFile, StudyError
from scaling.layout import RATES_FILE
from scaling.ledger import open_study
from scaling.rates import StudyRates, cell_key, read_rates, search_of, write_rates
from scaling.study import expand_study

TUNE = {"how": "probe", "fields": {"lr": {"log": [0.001, 1]}, "weight_decay": {"log": [1e-5, 1e-2]}}}
TUNED = {"training": {"epochs": 2, "batch_size": 10}, "data_sizes": [2, 4], "seeds": [0, 1], "tune": TUNE}
FIELDS = {"lr": 0.05, "weight_decay": 2e-4}


@pytest.fixture
def study(make_study, tmp_path):
    return open_study(make_study(**TUNED, storage=str(tmp_path)))


def rates_of(study, **fields: float) -> StudyRates:
    keys = {cell_key(run, study.spec.tune) for run in study.runs}
    return StudyRates(tune=search_of(study.spec.tune), cells=dict.fromkeys(keys, FIELDS | fields), report={})


def test_before_it_is_tuned_a_study_says_so(study) -> None:
    assert study.untuned
    assert {run.training.lr for run in study.runs} == {0.0316}, "the middle of the range"
    with pytest.raises(StudyError, match=r"study 'tiny' is not tuned yet .*`scaling run STUDY` finds its rates"):
        study.table()


def test_seeds_share_a_cell_and_everything_else_tells_cells_apart(study, make_study) -> None:
    keys = [cell_key(run, study.spec.tune) for run in study.runs]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    wider = expand_study(make_study(**TUNED | {"tune": TUNE | {"fields": TUNE["fields"] | {"lr": {"log": [0.1, 1]}}}}))
    assert [cell_key(run, study.spec.tune) for run in wider] == keys, "a cell does not depend on the range"
    probe = study.runs[0].model_copy(update={"validation": 0.1, "seed": 7})
    assert cell_key(probe, study.spec.tune) == keys[0], "nor on what a probe is"


def test_runs_are_those_of_the_same_rates_written_by_hand(study, make_study) -> None:
    write_rates(study.storage, rates_of(study))
    tuned = open_study(study.spec)
    by_hand = expand_study(make_study(**TUNED | {"tune": None, "training": TUNED["training"] | FIELDS}))
    assert not tuned.untuned
    assert [run.run_id for run in tuned.runs] == [run.run_id for run in by_hand]


def test_rates_are_written_once(study) -> None:
    write_rates(study.storage, rates_of(study))
    with pytest.raises(StudyError, match="a study's rates stay"):
        write_rates(study.storage, rates_of(study, lr=0.1))
    assert read_rates(study.spec, study.storage) == rates_of(study)


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ({"trials": 5}, r"tune.trials is 5, and was 9 when the study's rates were found .*restore it"),
        ({"how": "each", "share": 9}, r'tune.how is "each", and was "probe"'),
        ({"validation": 0.2}, "tune.validation is 0.2, and was 0.1"),
    ],
)
def test_another_search_does_not_take_them(study, make_study, tmp_path, tune: dict, words: str) -> None:
    write_rates(study.storage, rates_of(study))
    with pytest.raises(StudyError, match=words):
        open_study(make_study(**TUNED | {"tune": TUNE | tune}, storage=str(tmp_path)))


def test_a_larger_share_changes_no_rate(study, make_study, tmp_path) -> None:
    write_rates(study.storage, rates_of(study))
    assert open_study(make_study(**TUNED | {"tune": TUNE | {"share": 0.2}}, storage=str(tmp_path))).rates is not None


def test_a_grid_that_has_grown_is_refused(study, make_study, tmp_path) -> None:
    write_rates(study.storage, rates_of(study))
    with pytest.raises(StudyError, match=r"no rate was found for resnet-10 w2, 6 images/class.*restore it"):
        open_study(make_study(**TUNED | {"data_sizes": [2, 4, 6]}, storage=str(tmp_path)))


def test_damaged_rates_are_not_silently_found_anew(study) -> None:
    study.storage.write_bytes(RATES_FILE, json.dumps({"cells": {}}).encode())
    with pytest.raises(DamagedFile, match=r"holds no rates .*remove it"):
        open_study(study.spec)
