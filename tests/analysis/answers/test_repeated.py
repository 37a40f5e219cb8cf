"""A study that varies unique images and epochs: how fast repeated images lose worth, and who uses it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import answer
from analysis.answers.answering import Answer
from analysis.answers.laws import REPEATED_AXES, varies_repeats
from analysis.answers.report import study_report
from analysis.fit.forms import evaluate_form, find_form
from analysis.table import ScalingTable

PLANTED = {"E": 0.05, "A": 0.35 * 1e4**0.5, "alpha": 0.5, "B": 0.4 * 1e3**0.4, "beta": 0.4, "R_star": 3.0}
FORM = find_form("data_constrained")


def frame_of(epochs=(1, 4, 16, 64), images=(1e3, 4e3, 16e3), sizes=(1e4, 6e4, 4e5), noise=0.01) -> pd.DataFrame:
    """Runs of one family on a grid of N, U and epochs, two seeds each; accuracy and IT follow the planted law."""
    rng = np.random.default_rng(0)
    cells = [(N, U, e, seed) for N in sizes for U in images for e in epochs for seed in (0, 1)]
    N, U, e, seed = (np.array(column) for column in zip(*cells, strict=True))
    frame = pd.DataFrame({"n_params": N, "n_samples": U, "samples_seen": U * e, "epochs": e, "seed": seed})
    frame["flops_per_image"] = 200 * N**0.9
    frame["flops"] = 3 * frame.flops_per_image * frame.samples_seen
    y = evaluate_form(FORM, PLANTED, [frame[axis].to_numpy() for axis in FORM.default_axes])
    frame["accuracy"], frame["score"] = (1 - y * np.exp(rng.normal(0, noise, len(frame))) for _ in range(2))
    frame["run_id"] = [f"run{i}" for i in range(len(frame))]
    return frame.assign(family="resnet", benchmark="b.IT", region="IT", objective="supervised")


@pytest.fixture(scope="module")
def answered() -> Answer:
    return answer(frame_of(), bootstrap=60)


def test_r_star_is_found_again_and_used(answered):
    for region in ("accuracy", "IT"):
        law = answered.laws.repeated[region]
        assert law.status == "ok"
        low, high = law.interval("R_star")
        assert low < PLANTED["R_star"] < high < 6
        assert law.diagnostics.aicc < answered.laws.size[region].diagnostics.aicc
        assert answered.laws.best(region) is law
        assert answered.recipes["resnet"].laws[region].form == "data_constrained"
    assert "Repeated images, L = E + A" in answered.text()
    assert "IT: R* = " in answered.text()
    assert "recipes use it" in answered.text()


def test_a_cell_that_was_held_out_is_predicted():
    frame = frame_of()
    out = (frame.n_params == 4e5) & (frame.n_samples == 4e3) & (frame.epochs == 64)
    found = answer(frame[~out], bootstrap=60).predict("resnet", **frame[out].iloc[0][[*REPEATED_AXES, "flops"]])
    truth = 1 - float(evaluate_form(FORM, PLANTED, [frame[out][axis].iloc[0] for axis in FORM.default_axes]))
    assert found["accuracy"].law.low < truth < found["accuracy"].law.high
    assert found["accuracy"].run.low < found["accuracy"].law.low


def test_the_split_of_a_budget_knows_that_repeats_are_worth_less(answered):
    few, many = (answered.recipes["resnet"].allocate(1e13, "IT", n_samples=n) for n in (1e3, 1e9))
    assert few.n_params.value > many.n_params.value
    assert few.scores["IT"].value < many.scores["IT"].value


def test_the_answer_is_saved_loaded_and_drawn(answered, tmp_path):
    answered.save(tmp_path)
    loaded = Answer.load(tmp_path, frame_of())
    assert loaded is not None
    assert loaded.text() == answered.text()
    assert loaded.to_dict() == answered.to_dict()
    assert [law["region"] for law in loaded.to_dict()["laws_of_repeats"]] == ["accuracy", "IT"]
    assert any("repeated images" in name for name in study_report(answered).laws)


@pytest.mark.parametrize(
    ("changes", "varies"),
    [
        ({}, True),
        ({"epochs": (1, 4)}, False),
        ({"images": (1e3, 4e3)}, False),
        ({"epochs": (1, 2, 3), "images": (1e3, 2e3, 3e3)}, True),
    ],
)
def test_it_is_asked_where_both_are_varied(changes, varies):
    assert varies_repeats(ScalingTable.from_frame(frame_of(**changes))) == varies


def test_where_repeats_are_as_good_as_new_the_law_of_n_and_d_stays():
    frame = frame_of(epochs=(1, 2, 3))
    y = evaluate_form(find_form("chinchilla"), {k: v for k, v in PLANTED.items() if k != "R_star"},
                      [frame.n_params.to_numpy(), frame.samples_seen.to_numpy()])  # fmt: skip
    noise = np.random.default_rng(1).normal(0, 0.01, (2, len(frame)))
    frame["accuracy"], frame["score"] = 1 - y * np.exp(noise[0]), 1 - y * np.exp(noise[1])
    found = answer(frame, bootstrap=20)
    assert found.recipes["resnet"].laws["IT"].form == "chinchilla"
    assert "Repeated images" in found.text()
