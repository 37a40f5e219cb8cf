"""A real study of 30 CIFAR-10 runs, once said not to scale though its accuracy rises from .21 to .72."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import Answer, answer


@pytest.fixture(scope="module")
def made(data_dir: Path) -> Answer:
    folder = data_dir / "cifar10_gpu_pilot"
    if not folder.exists():
        pytest.skip(f"{folder} is not there; set SCALING_DATA_DIR")
    runs, scores = (pd.read_parquet(folder / f"{name}.parquet") for name in ("runs", "scores"))
    scores = scores[scores.epoch > 0].rename(columns={"status": "score_status", "reason": "score_reason"})
    shared = [name for name in scores if name in runs and name != "run_id"]
    return answer(scores.merge(runs.drop(columns=shared), on="run_id"), bootstrap=40)


def test_resnets_errors_fall_by_two_thirds_and_bend_along_samples(made: Answer) -> None:
    law = made.laws.size["accuracy"]
    low, high = law.trends["resnet"].total.interval(0.95)
    assert np.expm1([low, law.trends["resnet"].total.value, high]) == pytest.approx([-0.77, -0.64, -0.43], abs=0.01)
    assert law.verdict_of("resnet").status == "misfits"
    assert "bend along samples_seen" in law.verdict_of("resnet").reason
    found = made.allocate(1e15, "accuracy", "resnet")
    assert found.n_params is None
    assert found.inside is None
    assert found.best_measured.name == "resnet 32"


def test_vits_errors_fall_and_two_widths_are_too_few_for_a_form(made: Answer) -> None:
    law = made.laws.size["accuracy"]
    assert law.trends["vit"].direction == "falls"
    assert law.verdict_of("vit").status == "too few points"
    assert "2 distinct x for term 1" in law.verdict_of("vit").reason


def test_nothing_is_called_flat_unless_it_was_shown(made: Answer) -> None:
    for region in made.regions:
        for family in made.families:
            trend = made.laws.size[region].trends[family]
            assert trend.direction != "flat" or all(c.within(trend.margin) for c in (trend.total, *trend.axes))
            assert "no scaling" not in made.text()
