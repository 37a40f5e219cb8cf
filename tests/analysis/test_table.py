"""ScalingTable: loading, choosing, averaging, counting what is left out, refusing what cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import FitSpec, Recipe, ScalingTable, fit_law, isoflop_profiles


def _frame(**columns: Any) -> pd.DataFrame:
    n = 12
    frame = pd.DataFrame({
        "run_id": [f"r{i}" for i in range(n)], "n_params": np.geomspace(1e5, 1e7, n),
        "flops": np.geomspace(1e14, 1e17, n),
        "samples_seen": np.resize([1e4, 1e5, 1e6], n), "score": np.linspace(0.1, 0.5, n), "region": ["IT"] * n,
    })  # fmt: skip
    return frame.assign(**columns)


def test_an_empty_column_map_is_none(tmp_path: Path) -> None:
    """As `scaling fit` gives it without --column: the published table keeps its names otherwise."""
    path = tmp_path / "published.csv"
    _published([3e15] * 3).to_csv(path, index=False)
    assert ScalingTable.from_csv(path, {}).columns == ScalingTable.from_csv(path).columns
    assert "samples_seen" in ScalingTable.from_csv(path, {}).columns


def test_accuracy_is_a_region_of_one_row_a_model() -> None:
    frame = _frame(accuracy=np.linspace(0.3, 0.8, 12), benchmark="simulated-IT", ceiling=0.9)
    frame.loc[2, "accuracy"] = np.nan
    both = pd.concat([frame, frame.assign(region="V4", benchmark="simulated-V4", score=0.2)])
    table = ScalingTable.from_frame(both).with_accuracy()
    assert len(table) == 24 + 11
    rows = table.select(region="accuracy")
    models = frame.dropna(subset="accuracy")
    assert rows.frame["run_id"].tolist() == models["run_id"].tolist()
    assert rows.values("score").tolist() == rows.values("accuracy").tolist() == models["accuracy"].tolist()
    assert rows.column("ceiling").isna().all()
    assert not rows.names_simulated()
    pd.testing.assert_frame_equal(table.select(region="IT").frame, ScalingTable.from_frame(frame).frame)


def test_without_a_run_id_seeds_are_models_of_their_own() -> None:
    frame = _frame(accuracy=0.5, benchmark="b", seed=np.tile([0, 1], 6), n_params=1e5, samples_seen=1e4, flops=1e14)
    table = ScalingTable.from_frame(frame.drop(columns="run_id").iloc[:2]).with_accuracy()
    assert table.select(region="accuracy").column("seed").tolist() == [0, 1]


def test_select_by_lists_missing_values_and_aliases() -> None:
    frame = _frame(images_per_class=pd.array([10, None] * 6, dtype="Int64"), region=["Behavioral"] * 12)
    table = ScalingTable.from_frame(frame)
    assert len(table.select(images_per_class=[None])) == 6
    assert len(table.select(images_per_class=[None, 10])) == 12
    assert len(table.select(region="Behavioral")) == len(table.select(region="behavior")) == 12


def test_mean_over_regions_is_one_row_a_model() -> None:
    parts = [_frame(region=r, score=s) for r, s in (("V1", 0.2), ("IT", 0.4))]
    table = ScalingTable.from_frame(pd.concat(parts))
    mean = table.mean_over("region")
    assert len(mean) == 12
    assert mean.values("score") == pytest.approx(0.3)


def test_a_mean_is_one_over_equal_sets_and_says_which_part_is_missing() -> None:
    """A run that lacks a benchmark would enter as the mean of the others, high or low by what it lacks."""
    parts = [_frame(region="IT", benchmark=name, score=score) for name, score in (("easy", 0.8), ("hard", 0.2))]
    frame = pd.concat(parts, ignore_index=True)
    frame.loc[3, "score"] = np.nan  # run 3 on easy
    table = ScalingTable.from_frame(frame.drop(index=[12, 13]))  # runs 0 and 1 on hard
    mean = table.mean_over("benchmark")
    assert mean.values("score") == pytest.approx(0.5)
    assert mean.column("run_id").tolist() == [f"r{i}" for i in range(12) if i not in (0, 1, 3)]
    assert mean.left_out == {
        "no score for hard, left out of the mean over benchmark": 2,
        "no score for easy, left out of the mean over benchmark": 1,
    }
    assert mean.unique("benchmark") == ["easy + hard"]


def test_a_mean_over_regions_has_every_benchmark_of_each() -> None:
    names = (("V1", "a"), ("IT", "b"), ("IT", "c"))
    frame = pd.concat([_frame(region=r, benchmark=b, score=0.3) for r, b in names], ignore_index=True)
    mean = ScalingTable.from_frame(frame.drop(index=24)).mean_over("region")  # run 0 on c
    assert len(mean) == 11
    assert mean.left_out == {"no score for c, left out of the mean over region": 1}


def test_a_mean_over_seeds_is_of_one_benchmark_and_of_every_seed() -> None:
    one = pd.DataFrame({"family": "cnn", "n_params": [1e5, 1e6], "samples_seen": 1e4, "flops": [1e14, 1e15]})
    frame = pd.concat([one.assign(region=r, benchmark=r, seed=seed, score=score + 0.1 * seed)
                       for r, score in (("V1", 0.2), ("IT", 0.6)) for seed in (0, 1)], ignore_index=True)  # fmt: skip
    mean = ScalingTable.from_frame(frame.drop(index=2)).mean_over("seed")  # 1e5 parameters, seed 1, V1
    assert [*zip(mean.column("region"), mean.values("n_params"), strict=True)] == [
        ("V1", 1e6), ("IT", 1e5), ("IT", 1e6)
    ]  # fmt: skip
    assert mean.values("score") == pytest.approx([0.25, 0.65, 0.65])
    assert mean.left_out == {"no score for 1, left out of the mean over seed": 1}
    over_regions = ScalingTable.from_frame(frame).mean_over("region")
    assert sorted(over_regions.values("score")) == pytest.approx([0.4, 0.4, 0.5, 0.5])  # seeds stay apart


def test_a_simulated_mean_stays_simulated() -> None:
    parts = [_frame(benchmark=f"simulated-{name}") for name in "ab"]
    assert ScalingTable.from_frame(pd.concat(parts)).mean_over("benchmark").names_simulated()


MEASURABLE = {
    "a score above its noisy ceiling": {"score": 1.004},
    "a score far above a low ceiling": {"score": 3.0, "raw": 0.3, "ceiling": 0.1},
    "its square": {"score": 9.0, "raw": 0.3, "ceiling": 0.1},
    "a negative score": {"score": -0.4, "raw": -0.4},
    "a correlation of a copy, as floats have it": {"raw": 1 + 1e-9, "ceiling": 1 + 1e-9},
    "perfect accuracy": {"accuracy": 1.0},
}
IMPOSSIBLE = {
    "score in percent": ({"score": 43.0}, r"score=43 \(row 0 of a data frame; 12 such rows\).*at most 2,.*by 100"),
    "negative score in percent": ({"score": -43.0}, r"score=-43 .* must be at least -2"),
    "score that its own raw value and ceiling do not give": ({"score": 5.0, "raw": 0.9, "ceiling": 0.8}, "score=5 "),
    "raw in percent": ({"raw": 58.0}, r"raw=58 .*at least -1, at most 1, .*\[correlation\]; divide percentages"),
    "raw below -1": ({"raw": -1.2}, r"raw=-1.2 .*at least -1"),
    "accuracy above 1": ({"accuracy": 1.01}, r"accuracy=1.01 .*at most 1"),
    "negative accuracy": ({"accuracy": -0.1}, r"accuracy=-0.1 .*at least 0"),
    "ceiling in percent": ({"ceiling": 82.0}, r"ceiling=82 .*above 0, at most 1.*divide percentages"),
    "no ceiling as 0": ({"ceiling": 0.0}, r"ceiling=0 .*above 0.*leave it empty"),
    "infinite score": ({"score": np.inf}, r"score=inf .*finite"),
}  # fmt: skip


@pytest.mark.parametrize("case", MEASURABLE)
def test_what_a_measurement_can_give_is_kept(case: str) -> None:
    table = _table(**MEASURABLE[case])
    for name, value in MEASURABLE[case].items():
        assert table.values(name) == pytest.approx(value)


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_nothing_can_give_is_refused_by_name(case: str) -> None:
    columns, message = IMPOSSIBLE[case]
    with pytest.raises(ValueError, match=message):
        _table(**columns)


def test_scores_at_their_ceiling_stay_and_are_left_out_of_laws_by_name() -> None:
    frame = _frame(benchmark=["noisy"] * 6 + ["clean"] * 6)
    frame.loc[[3, 4, 9], "score"] = [1.004, 1.2, 1.0]
    table = ScalingTable.from_frame(frame)
    assert len(table) == 12
    law = fit_law(table, bootstrap=0)
    assert law.n_points == 9
    assert law.rows.left_out == {
        "score of 1 or more on noisy: no logarithm of misalignment": 2,
        "score of 1 or more on clean: no logarithm of misalignment": 1,
    }
    assert law.params == fit_law(ScalingTable.from_frame(frame.drop(index=[3, 4, 9])), bootstrap=0).params


def test_a_target_of_0_is_left_out_and_counted() -> None:
    table = _table(loss=np.append(np.geomspace(3, 1, 11), 0.0))
    law = fit_law(table, target="loss", bootstrap=0)
    assert law.rows.left_out == {"loss of 0 or less: no logarithm of loss": 1}


def test_isoflop_profiles_pass_over_scores_at_their_ceiling() -> None:
    frame = _frame(flops=np.repeat([1e14, 2e14], 6), n_params=np.tile(np.geomspace(1e5, 1e7, 6), 2))
    frame.loc[0, "score"] = 1.01
    profiles = isoflop_profiles(ScalingTable.from_frame(frame)).profiles
    alone = isoflop_profiles(ScalingTable.from_frame(frame.drop(index=0))).profiles
    assert profiles == alone


def test_a_frame_says_what_was_left_out_before() -> None:
    frame = _frame()
    frame.attrs["left_out"] = {"run diverged": 3}
    assert ScalingTable.from_frame(frame).left_out == {"run diverged": 3}


def _half_named(**columns: Any) -> ScalingTable:
    """12 rows with the names given, and 12 with none."""
    blank = dict.fromkeys(columns, "  ")
    return ScalingTable.from_frame(pd.concat([_frame(**columns), _frame(**blank)], ignore_index=True))


NAMELESS: dict[str, tuple[Callable[[], ScalingTable], str]] = {
    "each region": (lambda: dict(_half_named(region="IT").group("region"))["IT"], "region missing"),
    "one region": (lambda: _half_named(region="IT").select(region="IT"), "region missing"),
    "a mean over regions": (lambda: _half_named(region="IT").mean_over("region"), "region missing"),
    "each family": (lambda: dict(_half_named(family="vit").group("family"))["vit"], "family missing"),
    "one family": (lambda: _half_named(family="vit").select(family="vit"), "family missing"),
    "a mean over benchmarks": (lambda: _half_named(benchmark="b").mean_over("benchmark"), "benchmark missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMELESS)
def test_rows_without_a_name_are_counted_where_names_are_asked_for(case: str) -> None:
    choose, reason = NAMELESS[case]
    assert (len(choose()), choose().left_out) == (12, {reason: 12})


def test_a_column_of_blanks_has_no_groups() -> None:
    with pytest.raises(ValueError, match="no row has a region"):
        list(_table(region=" ").group("region"))


def test_names_have_one_spelling() -> None:
    table = _table(region=["IT", " IT", "it "] * 4, family=["resnet", "resnet "] * 6)
    assert (table.unique("region"), table.unique("family")) == (["IT"], ["resnet"])
    assert len(table.select(region="it")) == 12


WANTED = {
    "a number": ({"lr": 0.1}, "0.1", 12),
    "a number in another spelling": ({"flops": 1e15}, "1e15", 12),
    "a whole number of a float column": ({"images_per_class": [10.0, None] * 6}, "10", 6),
    "a nullable number": ({"images_per_class": pd.array([10, None] * 6, dtype="Int64")}, "10", 6),
    "a number among text": ({"images_per_class": ["10", "all"] * 6}, 10, 6),
    "text among numbers": ({"images_per_class": ["10", "all"] * 6}, "all", 6),
    "a flag": ({"is_ssl": [True, False] * 6}, "false", 6),
    "a flag as 0 and 1": ({"is_ssl": [1, 0] * 6}, "true", 6),
    "a family called true": ({"family": ["true", "other"] * 6}, "true", 6),
    "text": ({"family": ["vit", "resnet"] * 6}, "vit", 6),
}  # fmt: skip


@pytest.mark.parametrize("case", WANTED)
def test_text_chooses_the_values_that_it_spells(case: str) -> None:
    column, wanted, n = WANTED[case]
    (name,) = column
    assert len(_table(**column).select(**{name: wanted})) == n
    for absent in ("11", "none"):
        with pytest.raises(ValueError, match=f"no row has {name}='{absent}'; the table's values: "):
            _table(**column).select(**{name: absent})


def test_clusters_keep_seeds_together() -> None:
    frame = _frame(n_params=np.repeat([1e5, 1e6, 1e7, 1e8], 3), seed=np.resize([0, 1, 2], 12))
    frame = frame.assign(samples_seen=1e4, flops=6e4 * frame["n_params"])
    assert len(set(ScalingTable.from_frame(frame).clusters())) == 4


def test_column_map_and_parquet(tmp_path: Path) -> None:
    _frame().rename(columns={"flops": "C"}).to_parquet(tmp_path / "t.parquet")
    assert "flops" in ScalingTable.from_parquet(tmp_path / "t.parquet", {"C": "flops"}).columns


def test_published_table_is_renamed(published: ScalingTable) -> None:
    assert {"flops", "flops_per_image", "samples_seen", "family", "accuracy", "images_per_class"} <= set(
        published.columns
    )
    assert published.unique("region") == ["V1", "V2", "V4", "IT", "behavior"]
    row = published.require("flops").frame.iloc[0]
    assert row.flops == pytest.approx(3 * row.flops_per_image * row.samples_seen)


def test_rows_left_out_of_a_fit_are_counted() -> None:
    frame = _frame()
    frame.loc[:1, "score"] = np.nan
    law = fit_law(ScalingTable.from_frame(frame), bootstrap=0)
    assert law.rows.left_out == {"score missing": 2}
    assert law.n_points == 10


def _table(**columns: Any) -> ScalingTable:
    return ScalingTable.from_frame(_frame(**columns))


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "score above 1": (lambda: _table(score=43.0), "score=43.*divide percentages by 100"),
    "zero compute": (lambda: _table(flops=0.0), "flops=0 .*must be above 0"),
    "negative compute": (lambda: _table(flops=-1.0), "flops=-1 .*must be above 0"),
    "infinite compute": (lambda: _table(flops=np.inf), "flops=inf .*finite"),
    "negative samples": (lambda: _table(samples_seen=-5.0), "samples_seen=-5 .*at least 0"),
    "accuracy in percent": (lambda: _table(accuracy=76.1), "accuracy=76.1 .*divide percentages"),
    "text for a number": (lambda: _table(n_params="11M"), "n_params='11M' .*is no number"),
    "no rows": (lambda: ScalingTable.from_frame(_frame().iloc[:0]), "has no rows"),
    "missing column": (lambda: fit_law(ScalingTable.from_frame(_frame().drop(columns="flops"))),
                       "no column 'flops'; its columns: n_params"),
    "all missing": (lambda: fit_law(_table(score=np.nan)), "no row has all of.*score missing"),
    "one unique x": (lambda: fit_law(_table(flops=1e15)), "flops has one distinct value"),
    "score at the ceiling": (lambda: fit_law(_table(score=1.0)), "misalignment=0 .*ceiling"),
    "untrained only": (lambda: fit_law(_table(samples_seen=0.0), axes=("samples_seen",)),
                       "no row has all of.*untrained or pretrained"),
    "unknown region": (lambda: _table().select(region="V9"), "no row has region='V9'; the table's values: IT"),
    "unknown column in select": (lambda: _table().select(colour="red"), "no column 'colour'; its columns: flops"),
    "unknown form": (lambda: fit_law(_table(), form="linear"), "form='linear' is not known; choose one of chinchilla"),
    "wrong number of axes": (lambda: fit_law(_table(), form="chinchilla", axes=("flops",)), "takes 2"),
    "unknown option": (lambda: fit_law(_table(), huber=1), "huber"),
    "negative delta": (lambda: FitSpec(huber_delta=-1), "greater than 0"),
    "column map names nothing": (lambda: ScalingTable.from_frame(_frame(), {"FLOPs": "flops"}),
                                 "which the table lacks"),
    "two columns of one name": (lambda: ScalingTable.from_frame(_frame(C=1.0), {"C": "flops"}),
                                "two columns are called"),
    "two columns of one name in the frame": (lambda: ScalingTable.from_frame(pd.concat([_frame(), _frame()], axis=1)),
                                             "two columns are called"),
    "unknown cluster": (lambda: fit_law(_table(), cluster="lab"), "neither 'configuration', 'row' nor a column"),
    "no budget": (lambda: Recipe.from_law(fit_law(_table(), bootstrap=0)).allocate(0), "flops=0 must be above 0"),
    "score beyond the ceiling": (lambda: Recipe.from_law(fit_law(_table(), bootstrap=0)).flops_for(1.2), "below 1"),
}  # fmt: skip


def test_models_that_saw_no_images_are_left_out_of_a_law_and_counted() -> None:
    seen = np.resize([0.0, 1e5, 1e6, 1e7], 12)
    law = fit_law(_table(samples_seen=seen), axes=("samples_seen",), bootstrap=0)
    assert len(law.rows) == 9
    assert law.rows.left_out["samples_seen=0 (untrained or pretrained)"] == 3


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_the_reason(case: str) -> None:
    act, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        act()


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
    with pytest.raises(ValueError, match="is not a CSV"):
        ScalingTable.from_csv(tmp_path / "t.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is not a CSV"):
        ScalingTable.from_csv(tmp_path / "empty.csv")
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="is not Parquet"):
        ScalingTable.from_parquet(tmp_path / "t.parquet")
    with pytest.raises(FileNotFoundError, match="no table at"):
        ScalingTable.from_csv(tmp_path / "absent.csv")
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(ValueError, match="no recipe of version 1 or 2"):
        Recipe.load(tmp_path / "r.json")


def _published(flops: list[float]) -> pd.DataFrame:
    """Three rows in the published table's columns: 1e9 FLOP an image, 1e6 images seen."""
    return pd.DataFrame({
        "model_id": ["a", "b", "c"], "arch_family": "ResNet", "flops": 1e9, "n_samples_seen": 1e6,
        "total_flops": flops, "samples_per_class": [10, 100, 0], "score": 0.3, "benchmark_name": "x",
    })  # fmt: skip


@pytest.mark.parametrize("passes", [3, 1])
def test_both_conventions_of_the_published_tables_give_training_compute(tmp_path: Path, passes: int) -> None:
    path = tmp_path / "scores.csv"
    _published([passes * 1e15] * 3).to_csv(path, index=False)
    assert ScalingTable.from_csv(path).values("flops").tolist() == [3e15] * 3


def test_a_table_that_mixes_the_conventions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    _published([3e15, 1e15, 3e15]).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"is 1 in row 1; the published tables count 3 passes"):
        ScalingTable.from_csv(path)
