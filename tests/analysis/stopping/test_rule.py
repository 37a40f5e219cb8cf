"""The rule: what is within a factor, of what, and that it says what the study's answer says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable, answer
from analysis.stopping.rule import Look, StopRule, look_at, within_factor

RULE = StopRule("IT", 1e18, 3.0, {"resnet": True})


@pytest.fixture(scope="module")
def frame(plant: Callable[..., ScalingTable]) -> pd.DataFrame:
    """A study's frame: runs of one family, one benchmark of IT."""
    table = plant("chinchilla", n=6, noise=0.01, seed=1).frame
    ids = [f"{i:03}" for i in range(len(table))]
    words = {"run_id": ids, "family": "resnet", "benchmark": "x.IT", "region": "IT", "size": table["n_params"]}
    return table.assign(**words, accuracy=table["score"] * 0.9)


@pytest.mark.parametrize(
    ("value", "low", "high", "within"),
    [
        (10, 5, 20, True), (10, 4.9, 20, False), (10, 5, 20.1, False), (10, 9, 11, True), (10, 0, 11, False),
        (10, 9, np.inf, False), (np.nan, 9, 11, False), (10, np.nan, 11, False), (-1, -1, -1, False),
    ],
)  # fmt: skip
def test_within_a_factor_of_two(value: float, low: float, high: float, within: bool) -> None:
    assert within_factor(value, low, high, 2.0) is within


def test_n_opt_is_the_answers(frame: pd.DataFrame) -> None:
    (known,) = look_at(frame, RULE).known
    best = answer(frame).allocate(1e18, "IT", "resnet").n_params
    assert best is not None
    assert (known.quantity, known.value, known.low, known.high) == ("N", best.value, best.low, best.high)
    assert known.within
    assert look_at(frame, RULE).within


def test_a_narrower_factor_is_not_reached_and_draws_are_not_asked_for(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.stopping import rule as module

    specs = []
    fit = module.fit_with_squares
    monkeypatch.setattr(module, "fit_with_squares", lambda rows, spec: specs.append(spec) or fit(rows, spec))
    (known,) = look_at(frame, replace(RULE, factor=1.01)).known
    assert not known.within
    assert "t interval of N reaches" in known.reason
    assert [spec.bootstrap for spec in specs] == [0]


def test_accuracy_is_asked_like_a_region(frame: pd.DataFrame) -> None:
    (known,) = look_at(frame, replace(RULE, region="accuracy")).known
    best = answer(frame).allocate(1e18, "accuracy", "resnet").n_params
    assert best is not None
    assert known.value == best.value


def test_without_a_split_the_misalignment_is_asked(frame: pd.DataFrame) -> None:
    single = frame[frame.n_params == frame.n_params.min()]
    look = look_at(single, replace(RULE, splits={"resnet": False}, factor=2.0))
    (known,) = look.known
    assert known.quantity == "misalignment"
    assert known.within, known
    score = answer(single).laws.compute["IT", "resnet"].predict_score(flops=1e18)  # type: ignore[union-attr]
    assert known.value == pytest.approx(1 - float(score))
    assert known.low < known.value < known.high
    assert [part.family for part in look.linear] == ["resnet"]


def test_all_families_have_to_be_known(frame: pd.DataFrame) -> None:
    both = replace(RULE, splits={"resnet": True, "vit": True})
    look = look_at(frame, both)
    assert [known.family for known in look.known] == ["resnet", "vit"]
    assert not look.within
    assert "nothing is scored yet" in look.known[1].reason
    vit = frame.assign(family="vit", run_id="v" + frame["run_id"])
    assert look_at(pd.concat([frame, vit], ignore_index=True), both).within


def reasons(look: Look) -> str:
    assert not look.within
    return look.known[0].reason


def test_what_cannot_be_known_has_a_reason(frame: pd.DataFrame) -> None:
    assert "nothing is scored yet" in reasons(look_at(None, RULE))
    assert "nothing is scored yet" in reasons(look_at(frame.iloc[:0], RULE))
    assert "nothing of V4 is scored yet" in reasons(look_at(frame, replace(RULE, region="V4")))
    assert "one distinct value" in reasons(look_at(frame.iloc[:1], RULE))
    assert "too few points" in reasons(look_at(frame[(frame.n_params < 2e6) & (frame.samples_seen < 1e6)], RULE))
    rng = np.random.default_rng(0)
    flat = frame.assign(score=0.5 + rng.normal(0, 1e-3, len(frame)))
    assert "misalignment is flat" in reasons(look_at(flat, RULE))
    assert "score" in reasons(look_at(frame.assign(score=55.0), RULE)), "what the answer refuses is no end either"
