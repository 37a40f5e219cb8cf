"""Trained models beside themselves before training: estimates and t intervals by closed form."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import ScalingTable
from analysis.comparison.untrained import ALL_FAMILIES, EVERY, MOST, compare_untrained

FACTORS = {"resnet": {4: 0.80, 8: 0.75, 16: 0.70}, "vit": {4: 1.0, 8: 1.01, 16: 0.99}}  # of L, L / L0 at many images


def made(factors=FACTORS, subjects=False):
    """Three sizes a family, two data sizes, two seeds: L is factor · L0, or half the way there at few images."""
    before, after = [], []
    for family, sizes in factors.items():
        for size, factor in sizes.items():
            for images, share in ((100, 0.5), (200, 1.0)):
                for seed in (0, 1):
                    start = 0.6 + 0.02 * seed + 0.001 * size
                    end = start * (1 + share * (factor - 1))
                    run = {"run_id": f"{family}{size}-{images}-{seed}", "family": family, "size": size, "seed": seed,
                           "n_params": 10.0 * size, "n_samples": float(images), "flops": float(size * images),
                           "benchmark": "b.V4", "region": "V4"}  # fmt: skip
                    told = [
                        {s: {"score": 1 - y + shift} for s, shift in (("M", 0.1), ("N", -0.1))} for y in (start, end)
                    ]
                    told[1]["N"]["score"] += 0.05  # N gains .05 more than M does
                    own = [{"subject_scores": json.dumps(one)} if subjects else {} for one in told]
                    before.append(run | {"score": 1 - start} | own[0])
                    after.append(run | {"score": 1 - end} | own[1])
    return [{"V4": ScalingTable.from_frame(pd.DataFrame(rows))} for rows in (after, before)]


def found(*args, **kwargs):
    return {(one.family, one.of): one for one in compare_untrained(*made(*args, **kwargs))}


def test_means_and_t_intervals_over_architectures():
    changes = found()
    assert list(changes) == [(f, of) for f in ("resnet", "vit", ALL_FAMILIES) for of in (EVERY, MOST)]
    for of, shares in ((EVERY, (0.5, 1.0)), (MOST, (1.0,))):
        one = changes["resnet", of]
        logs = [np.mean([np.log(1 + s * (f - 1)) for s in shares]) for f in FACTORS["resnet"].values()]
        d = [np.mean([-(0.61 + 0.001 * size) * s * (f - 1) for s in shares]) for size, f in FACTORS["resnet"].items()]
        reach = stats.t.ppf(0.975, 2) * stats.sem(d)
        assert one.change.value == pytest.approx(np.mean(logs))
        assert one.change.interval(0.95) == pytest.approx(stats.t.interval(0.95, 2, np.mean(logs), stats.sem(logs)))
        assert (one.difference.value, one.difference.low) == pytest.approx((np.mean(d), np.mean(d) - reach))
        assert (one.architectures, one.configurations, one.runs) == (3, 3 * len(shares), 6 * len(shares))
        assert one.trained - one.untrained == pytest.approx(np.mean(d))
        assert one.direction == "falls"
    assert changes[ALL_FAMILIES, MOST].architectures == 6
    assert changes["vit", MOST].direction == "flat"
    assert "misalignment falls by 25 % [" in changes["resnet", MOST].sentence()
    assert "misalignment is flat" in changes["vit", MOST].sentence()


def test_subjects_have_an_interval_of_their_own():
    one = found(subjects=True)["resnet", MOST]
    means = [one.difference.value, one.difference.value + 0.05]
    assert one.n_subjects == 2
    reach = stats.t.ppf(0.975, 1) * stats.sem(means)
    assert (one.subjects.value, one.subjects.high) == pytest.approx((np.mean(means), np.mean(means) + reach))


@pytest.mark.parametrize(
    ("factors", "direction", "said"),
    [
        ({"a": {1: 1.2, 2: 1.25, 3: 1.3}}, "rises", "misalignment rises by 25 %"),
        ({"a": {1: 0.7, 2: 1.2, 3: 0.95}}, "undetermined", "whether training changes misalignment is undetermined: "),
        ({"a": {1: 0.7}}, "undetermined", "undetermined, of one architecture"),
    ],
)
def test_what_is_told(factors, direction, said):
    one = found(factors)["a", MOST]
    assert one.direction == direction
    assert said in one.sentence()


def test_runs_without_a_score_before_training_are_counted():
    after, before = made()
    before["V4"] = before["V4"].where(before["V4"].column("run_id").to_numpy() != "resnet4-100-0")
    changes = {(one.family, one.of): one for one in compare_untrained(after, before)}
    assert (changes["resnet", EVERY].runs, changes["resnet", EVERY].unpaired, changes["vit", EVERY].unpaired) == (
        11,
        1,
        0,
    )
    assert compare_untrained(after, {}) == ()
