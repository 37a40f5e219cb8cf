"""The answer of a study's frame: laws, recipes by family, allocations, twins, and what was left out."""

import json

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import Allocation, Answer, FittedLaw, ScalingTable

OFFSETS = {"resnet": 0.3, "vit": 0.4}


def study_frame(families: tuple[str, ...] = ("resnet", "vit"), seeds: int = 1) -> pd.DataFrame:
    """Four sizes by five data sizes a family: accuracy, V1, and IT on two benchmarks, from planted laws."""
    rng, rows = np.random.default_rng(0), []
    runs = [(s, d, k) for s in (1, 2, 4, 8) for d in (1, 4, 16, 64, 256) for k in range(seeds)]
    for family in families:
        for size, n_images, seed in runs:
            N, D = 1e4 * size**2, 1e4 * n_images
            law = OFFSETS[family] + 8.0 * N**-0.4 + 12.0 * D**-0.4
            run = {
                "run_id": f"{family}-{size}-{n_images}-{seed}", "study": "s", "family": family, "size": size,
                "seed": seed, "epoch": 4, "epochs": 4, "n_params": N, "n_samples": D / 4, "images_per_class": n_images,
                "samples_seen": D, "flops_per_image": 100 * N, "flops": 300 * N * D, "objective": "supervised",
                "accuracy": 1 - law * np.exp(rng.normal(0, 0.01)),
            }  # fmt: skip
            rows += [
                {**run, "benchmark": f"{name}.{region}", "region": region, "protocol": "p",
                 "score": 1 - factor * law * np.exp(rng.normal(0, 0.01))}
                for name, region, factor in (("a", "V1", 1.1), ("a", "IT", 0.9), ("b", "IT", 1.0))
            ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return study_frame()


@pytest.fixture(scope="module")
def made(frame: pd.DataFrame) -> Answer:
    return analysis.answer(frame, bootstrap=40)


def test_one_allocation_with_intervals(made: Answer) -> None:
    best = made.allocate(1e13, region="IT", family="resnet")
    assert isinstance(best, Allocation)
    for number in (best.n_params, best.samples_seen, best.scores["IT"]):
        assert number is not None
        assert number.low is not None
        assert number.low < number.value < number.high
    assert set(best.scores) == {"accuracy", "V1", "IT"} == set(made.regions)
    assert best == made.recipes["resnet"].allocate(1e13, "IT")
    assert made.allocate(1e13, family="resnet") == best  # IT is the target
    assert made.allocate(1e13, "accuracy", "resnet") != best
    assert list(made.allocate_each(1e13, "IT")) == ["resnet", "vit"] == list(made.families)


def test_what_is_unknown_is_refused_with_the_known(made: Answer) -> None:
    with pytest.raises(ValueError, match=r"name a family, as family='resnet'; it is one of resnet, vit"):
        made.allocate(1e13, region="IT")
    with pytest.raises(ValueError, match="unknown family 'cnn'; this study has resnet, vit"):
        made.allocate(1e13, family="cnn")
    with pytest.raises(ValueError, match="unknown region 'V9'; this study has accuracy, V1, IT"):
        made.allocate(1e13, region="V9", family="vit")
    with pytest.raises(ValueError, match="flops=0 must be above 0"):
        made.allocate(0, family="vit")
    with pytest.raises(ValueError, match="no column 'region'"):
        analysis.answer(study_frame().drop(columns="region"))


def test_one_family_needs_no_name() -> None:
    alone = analysis.answer(study_frame(("vit",)), bootstrap=0)
    assert alone.allocate(1e13) == alone.allocate(1e13, family="vit")
    assert alone.laws.size["IT"].groups == ()  # type: ignore[union-attr]


def test_laws_target_budget_and_text(made: Answer, frame: pd.DataFrame) -> None:
    assert (made.target, made.budget) == ("IT", 10 * frame["flops"].max())
    assert set(made.laws.size) == set(made.regions)
    assert set(made.laws.compute) == {(region, family) for region in made.regions for family in made.families}
    assert all(isinstance(law, FittedLaw) for law in made.laws.size.values())
    text = made.text()
    assert "Laws of error and misalignment, L = 1 - score" in text
    assert "exponents shared by the families" in text
    assert "left out" not in text
    assert "Twins" not in text
    json.dumps(made.to_dict(), allow_nan=False)


def test_a_table_is_as_good_as_a_frame(made: Answer, frame: pd.DataFrame) -> None:
    assert analysis.answer(ScalingTable.from_frame(frame), bootstrap=40).recipes == made.recipes


def test_a_score_above_its_ceiling_costs_its_own_row_and_no_more(frame: pd.DataFrame, made: Answer) -> None:
    above = frame.copy()
    above.loc[(above["run_id"] == "vit-8-256-0") & (above["region"] == "V1"), "score"] = 1.004
    noisy = analysis.answer(above, bootstrap=40)
    assert noisy.left_out()["V1"] == {"score of 1 or more on a.V1: no logarithm of misalignment": 1}
    assert "left out of V1: 1 x score of 1 or more on a.V1: no logarithm of misalignment" in noisy.text()
    assert noisy.laws.size["V1"].n_points == 39  # type: ignore[union-attr]
    for region in ("accuracy", "IT"):
        assert noisy.recipes["vit"].laws[region] == made.recipes["vit"].laws[region]


def test_a_run_without_one_of_two_benchmarks_is_in_no_mean(frame: pd.DataFrame) -> None:
    lacking = frame[~((frame["run_id"] == "vit-8-256-0") & (frame["benchmark"] == "b.IT"))]
    found = analysis.answer(lacking, bootstrap=0)
    assert found.laws.size["IT"].n_points == 39  # type: ignore[union-attr]
    assert found.laws.size["V1"].n_points == 40  # type: ignore[union-attr]
    assert "left out of IT: 1 x no score for b.IT, left out of the mean over benchmark" in found.text()
    assert found.to_dict()["left_out"]["regions"]["IT"]


def test_a_family_without_complete_rows_has_reasons_and_no_numbers(frame: pd.DataFrame) -> None:
    half = frame[~((frame["family"] == "vit") & (frame["benchmark"] == "b.IT"))]
    found = analysis.answer(half, bootstrap=0)
    best = found.allocate(1e13, region="IT", family="vit")
    assert (best.n_params, best.samples_seen, best.scores["IT"]) == (None, None, None)
    assert best.reason == "no law of IT: no complete row of vit in region IT"
    assert "no number" in best.text()
    assert found.allocate(1e13, region="accuracy", family="vit").n_params is not None
    assert "no law: no complete row of vit in region IT" in found.text()


def test_a_study_of_one_size_has_reasons_and_no_numbers(frame: pd.DataFrame) -> None:
    best = analysis.answer(frame[frame["size"] == 1], bootstrap=0).allocate(1e13, "IT", "vit")
    assert (best.n_params, dict(best.scores)) == (None, {"accuracy": None, "V1": None, "IT": None})
    assert "n_params has one distinct value" in best.reason
    assert best.to_dict()["scores"] == {}


def test_what_was_left_out_before_is_said(frame: pd.DataFrame) -> None:
    told = frame.copy()
    told.attrs["left_out"] = {"run diverged": 3}
    assert "left out: 3 x run diverged" in analysis.answer(told, bootstrap=0).text()


def _twins(frame: pd.DataFrame) -> pd.DataFrame:
    """Each run once more, harmonized: scores 0.05 above."""
    plain = frame.assign(objective="supervised", objective_name="supervised", objective_weight=np.nan)
    treated = frame.assign(
        run_id=frame["run_id"] + "-h", objective="harmonizer weight=0.3", objective_name="harmonizer",
        objective_weight=0.3, score=frame["score"] + 0.05,
    )  # fmt: skip
    return pd.concat([plain, treated], ignore_index=True)


def test_objectives_are_families_apart_and_twins_are_compared() -> None:
    found = analysis.answer(_twins(study_frame(("resnet",), seeds=2)), bootstrap=0)
    assert found.families == ("resnet supervised", "resnet harmonizer weight=0.3")
    assert found.rows.table.unique("arch") == ["resnet"]
    assert found.allocate(1e13, family="resnet harmonizer weight=0.3").n_params is not None
    assert {twin.region for twin in found.twins} == {"V1", "IT"}
    names = [twin.name for twin in found.twins if twin.region == "V1"]
    assert names == [f"size {s} images per class {n}" for s in (1, 2, 4, 8) for n in (1, 4, 16, 64, 256)]
    assert {twin.n for twin in found.twins} == {2}
    assert all(twin.score is not None and twin.score.value == pytest.approx(0.05) for twin in found.twins)
    assert "Twins: what the objective changes beside supervised" in found.text()
    assert "+0.050 [+0.050, +0.050]" in found.text()
    assert found.to_dict()["twins"][0]["score"]["value"] == pytest.approx(0.05)


def test_without_the_objective_columns_there_are_no_twins(frame: pd.DataFrame) -> None:
    bare = _twins(study_frame(("resnet",))).drop(columns=["objective_name", "objective_weight"])
    found = analysis.answer(bare, bootstrap=0)
    assert found.families == ("resnet supervised", "resnet harmonizer weight=0.3")
    assert found.twins == ()
