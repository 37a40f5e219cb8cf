"""Laws over the stimuli of a mapping and compute: planted parameters come back, and what is not known is not said."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import analysis
from analysis import ScalingTable
from analysis.fit.estimate import Estimate
from analysis.mapping.curves import EVERYONE, mapping_rows
from analysis.mapping.forecast import difference_of, forecasts
from analysis.mapping.laws import fit_mapping
from analysis.mapping.slope import measured_slope

COMPUTES = tuple(np.logspace(11, 14, 8))
SIZES = (25, 50, 100, 200, 400, 960)  # the last is all stimuli


def misalignment(flops, n, a=0.2, alpha=0.3, b=0.3, beta=0.5):
    return 0.3 + a * (flops / 1e11) ** -alpha + b * (n / 25) ** -beta


def study(computes=COMPUTES, seeds=2, noise=0.002, sizes=SIZES, subjects=("M", "N"), **law):
    """A study's frame whose scores follow the law; subject M is better than N by .1, orders and runs scatter."""
    rng, rows = np.random.default_rng(0), []

    def scored(y):
        y = y * np.exp(noise * rng.standard_normal())
        ends = {s: 1 - y + (0.05 - 0.1 * i) * (len(subjects) > 1) for i, s in enumerate(subjects)}
        return {"score": float(np.mean(list(ends.values()))), "subjects": ends}

    for size, flops in enumerate(computes):
        for seed in range(seeds):
            curve = [
                {"mapping_samples": n, "seed": order, "raw": 0.1, **scored(misalignment(flops, n, **law))}
                for n in sizes[:-1] for order in range(3)
            ]  # fmt: skip
            whole = scored(misalignment(flops, sizes[-1], **law))
            rows.append({
                "run_id": f"r{size}-{seed}", "study": "s", "family": "resnet", "size": size, "seed": seed, "epoch": 4,
                "n_params": 1000.0 * (size + 1), "n_samples": 1000.0, "samples_seen": 4000.0, "flops": flops,
                "accuracy": 0.5, "benchmark": "cowley2023.V4", "region": "V4", "layer": "l", "protocol": "p",
                "score": whole["score"], "mapping_samples": sizes[-1], "mapping_curve": json.dumps(curve),
                "subject_scores": json.dumps({name: {"score": v} for name, v in whole["subjects"].items()}),
            })  # fmt: skip
    return pd.DataFrame(rows)


def table(**kwargs):
    return ScalingTable.from_frame(study(**kwargs))


def test_rows_are_means_over_orders_and_all_stimuli_come_once():
    frame = study(noise=0.1, computes=(1e11,), seeds=1)
    rows = mapping_rows(ScalingTable.from_frame(frame)).frame
    curve = json.loads(frame["mapping_curve"][0])
    for n in SIZES[:-1]:
        for subject in ("M", "N"):
            mine = [p["subjects"][subject] for p in curve if p["mapping_samples"] == n]
            found = rows[(rows["mapping_samples"] == n) & (rows["subject"] == subject)]["score"]
            assert found.tolist() == pytest.approx([np.mean(mine)])
    assert rows.groupby("subject").size().to_dict() == {EVERYONE: 6, "M": 6, "N": 6}
    least = frame.assign(mapping_samples=400)  # of recordings with unequal numbers: the curve holds the least of them
    assert mapping_rows(ScalingTable.from_frame(least)).frame["mapping_samples"].max() == 400


def test_planted_laws_come_back():
    laws = fit_mapping(table(), bootstrap=40)
    surface = laws.surfaces["cowley2023.V4", "resnet"]
    assert surface.usable
    assert surface.n_configurations == 8
    assert surface.params["beta"] == pytest.approx(0.5, rel=0.1)
    for key, law in laws.curves.items():
        assert law.params["alpha"] == pytest.approx(0.5, rel=0.15), key
    assert {(model, subject) for _, model, subject in laws.curves} == {
        (f"resnet {size}", s) for size in range(8) for s in (EVERYONE, "M", "N")
    }
    offsets = {s: laws.curves["cowley2023.V4", "resnet 0", s].params["E"] for s in ("M", "N")}
    assert offsets["N"] - offsets["M"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("law", "buy"), [({"a": 0.02, "b": 0.3}, "stimuli"), ({"a": 0.3, "b": 0.02, "beta": 1.0}, "compute")]
)
def test_the_answer_at_a_budget(law, buy):
    made = analysis.answer(study(subjects=("M",), **law), bootstrap=30)
    (found,) = made.with_stimuli(1e13, 400, region="V4", family="resnet")
    now = misalignment(1e13, 400, **law)
    stimuli, compute = now - misalignment(1e13, 500, **law), now - misalignment(1e14, 400, **law)
    assert found.score.value == pytest.approx(1 - now, abs=0.003)
    assert found.score.low < 1 - now < found.score.high
    assert found.more_stimuli.gain.value == pytest.approx(stimuli, rel=0.2, abs=3e-4)
    assert found.more_compute.gain.value == pytest.approx(compute, rel=0.2, abs=1e-3)
    assert found.difference.value == pytest.approx(found.more_stimuli.gain.value - found.more_compute.gain.value)
    assert found.buy == buy
    assert found.extrapolation == {"flops": pytest.approx(0.1), "mapping_samples": pytest.approx(400 / 960)}
    assert f"{buy} gain" in made.text()


def test_two_models_have_a_slope_and_no_surface():
    rows = table(computes=(1e11, 1e13), seeds=3)
    laws = fit_mapping(rows, bootstrap=40)
    (found,) = forecasts(laws)
    assert found.status == "undetermined"
    last = mapping_rows(rows).select(subject=EVERYONE, mapping_samples=960).frame
    line = stats.linregress(np.log(last["flops"]), np.log(1 - last["score"]))
    slope = measured_slope(laws.rows.select(subject=EVERYONE))
    assert (slope.value, slope.error, slope.dof) == (pytest.approx(line.slope), pytest.approx(line.stderr), 4)
    y = 1 - found.score.value
    reach = stats.t.ppf(0.975, 4) * line.stderr
    assert found.more_compute.gain.value == pytest.approx(y * (1 - 10**line.slope))
    assert found.more_compute.gain.low == pytest.approx(y * (1 - 10 ** (line.slope + reach)))
    assert "6 runs of two models alone" in found.more_compute.by
    assert "resnet 1" in found.of
    assert found.more_stimuli.gain.value == pytest.approx(misalignment(1e13, 960) - misalignment(1e13, 1060), rel=0.2)
    assert found.buy == "compute"


def test_a_slope_of_three_configurations_is_over_their_means():
    rows = mapping_rows(table(computes=(1e11, 1e12, 1e13), seeds=3)).select(subject=EVERYONE)
    assert measured_slope(rows).dof == 1
    assert "3 configurations" in measured_slope(rows).of


@pytest.mark.parametrize(
    ("kwargs", "stimuli", "compute"),
    [
        ({"computes": (1e11,)}, "the law over", "one compute in 2 runs"),
        ({"computes": (1e11, 1e13), "seeds": 1}, "the law over", "2 runs of 2 models"),
        ({"computes": (1e11, 1e13), "sizes": (25, 50, 100)}, "3 configurations; power_law has 3", "runs of two models"),
        ({"computes": (1e11, 1e13), "b": 0.0, "noise": 0.02}, "resnet 1: ", "runs of two models"),
    ],
)
def test_what_is_not_known_is_said(kwargs, stimuli, compute):
    (found,) = forecasts(fit_mapping(table(subjects=("M",), **kwargs), bootstrap=20))
    assert stimuli in found.more_stimuli.by
    assert compute in found.more_compute.by
    if found.more_stimuli.gain is None or found.more_compute.gain is None:
        assert (found.buy, found.difference) == ("undetermined", None)
        assert "an unknown amount" in found.sentence()
        assert found.sentence().endswith("which gains more is undetermined")


def test_the_difference_of_two_estimates():
    """By hand: 3 - 1, reaches hypot(1, 2) down and hypot(2, .5) up."""
    found = difference_of(Estimate(value=3, low=2, high=5), Estimate(value=1, low=0.5, high=3))
    assert (found.value, found.low, found.high) == (2, pytest.approx(2 - 5**0.5), pytest.approx(2 + 4.25**0.5))


@pytest.fixture(scope="module")
def two():
    return fit_mapping(table(computes=(1e11, 1e13), subjects=("M",)), bootstrap=0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"flops": 0.0}, "flops=0 must be above 0"),
        ({"stimuli": 0.0}, "stimuli=0 must be 1 or more"),
        ({"stimuli": float("nan")}, "stimuli=nan must be 1 or more"),
        ({"region": "V9"}, "unknown region 'V9'; mapping curves are there of V4"),
        ({"family": "vit"}, "unknown family 'vit'; mapping curves are there of resnet"),
    ],
)
def test_bad_questions(two, asked, words):
    with pytest.raises(ValueError, match=words):
        forecasts(two, **asked)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="mapping_curve"), "no score has a mapping_curve"),
        (lambda frame: frame.assign(mapping_curve=None), "no score has a mapping_curve"),
        (lambda frame: frame.assign(mapping_curve="[{"), "run_id='r0-0' on 'cowley2023.V4' is no JSON"),
    ],
)
def test_bad_tables(change, words):
    with pytest.raises(ValueError, match=words):
        fit_mapping(ScalingTable.from_frame(change(study(computes=(1e11, 1e13)))))


def test_models_without_compute_have_laws_over_stimuli_alone():
    laws = fit_mapping(ScalingTable.from_frame(study(computes=(1e11, 1e13)).drop(columns="flops")), bootstrap=0)
    assert len(laws.curves) == 6
    with pytest.raises(ValueError, match="no model with a mapping curve has its compute"):
        forecasts(laws)
