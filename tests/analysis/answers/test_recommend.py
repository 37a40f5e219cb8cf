"""Which family a budget is verified in; what cannot be verified names status and trend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import Answer, answer
from analysis.answers.recommend import recommend

Frame = Callable[..., pd.DataFrame]


def rows(family: str, level: float, falls: bool) -> pd.DataFrame:
    rng = np.random.default_rng(len(family))
    found = []
    for n in np.rint(np.geomspace(1e4, 1e6, 4)):
        for d in np.geomspace(1e3, 1e5, 4):
            y = level * (0.1 + 0.4 * (n / 1e4) ** -0.4 + 0.4 * (d / 1e3) ** -0.4) if falls else 0.5
            y = float(y * np.exp(0.01 * rng.standard_normal()))
            found.append({"run_id": f"{family}-{n}-{d}", "family": family, "n_params": n, "samples_seen": d,
                          "flops": 6 * n * d, "flops_per_image": 2 * n, "accuracy": 1 - y, "benchmark": "b", "seed": 0,
                          "region": "IT", "score": 1 - y, "size": int(n), "images_per_class": int(d)})  # fmt: skip
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def made() -> Answer:
    parts = [rows("steady", 1.0, True), rows("better", 0.6, True), rows("flat", 1.0, False)]
    return answer(pd.concat(parts), bootstrap=40)


def test_the_family_that_promises_most_is_taken(made: Answer) -> None:
    family, allocation = recommend(made, 1e12)
    assert family == "better"
    assert allocation.scores["IT"] == made.allocate(1e12, family="better").scores["IT"]
    assert recommend(made, 1e12, "accuracy", "steady")[0] == "steady"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"flops": 1e12, "family": "flat"}, [r"no law splits 1e\+12 FLOP for IT", "flat: (whether )?misalignment ",
                                             "name family steady or better"]),
        ({"flops": 1e12, "family": "resnet"}, ["unknown family 'resnet'", "steady"]),
        ({"flops": 1e12, "region": "V7"}, ["unknown region 'V7'", "accuracy, IT"]),
        ({"flops": 0.0}, ["flops=0 must be above 0"]),
        ({"flops": float("nan")}, ["flops=nan must be above 0 and finite"]),
        ({"flops": -1e9, "family": "better"}, [r"flops=-1e\+09 must be above 0"]),
    ],
)  # fmt: skip
def test_what_cannot_be_verified_says_why(made: Answer, question: dict[str, object], words: list[str]) -> None:
    for word in words:
        with pytest.raises(ValueError, match=word):
            recommend(made, **question)


def test_no_family_with_a_law_names_each_ones_trend() -> None:
    alone = answer(rows("flat", 1.0, False), bootstrap=20)
    with pytest.raises(ValueError, match=r"flat: (whether )?misalignment .*add sizes, data sizes or seeds"):
        recommend(alone, 1e12)
