"""Twins: pairs that differ in the objective alone, their arrows, and the paired differences."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import ScalingTable, find_twins, plot_twins, treatment_arrows, twin_differences
from analysis.tradeoff.twins import Twins


def _study(**columns: object) -> pd.DataFrame:
    """Two widths, three seeds, a harmonizer beside its baseline: a treatment that differs a little by seed."""
    rng = np.random.default_rng(1)
    rows = [
        {"run_id": f"{size}-{seed}-{weight}", "family": "resnet", "size": size, "depth": 10, "seed": seed, "epoch": 4,
         "images_per_class": None, "region": "saliency", "benchmark": "simulated-human-alignment.max_abs",
         "objective": f"harmonizer weight={weight}", "objective_name": "harmonizer", "objective_weight": float(weight),
         "score": 0.5 + 0.16 * (weight > 0) + 0.03 * rng.normal(), "accuracy": 0.9 + 0.01 * rng.normal(),
         "n_params": 1e4 * size, "flops": 1e9 * size * (1 + weight), "samples_seen": 40.0}
        for size in (8, 12) for seed in range(3) for weight in (0, 10)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


TWINS = Twins("harmonizer weight=0", ("harmonizer weight=10",))


def _differences(frame: pd.DataFrame) -> dict[str, object]:
    table = ScalingTable.from_frame(frame)
    return {twin.name: twin for twin in twin_differences({"saliency": table}, TWINS)}


@pytest.mark.parametrize("quantity", ["score", "accuracy"])
def test_paired_differences_are_those_of_a_paired_t_test(quantity: str) -> None:
    frame = _study()
    for size in (8, 12):
        twin = _differences(frame)[f"size {size}"]
        part = frame[frame["size"] == size].sort_values("seed")
        plain, treated = (part[part["objective_weight"] == w][quantity].to_numpy() for w in (0, 10))
        theirs = stats.ttest_rel(treated, plain).confidence_interval(0.95)
        ours = getattr(twin, quantity)
        assert (twin.n, twin.n_unpaired) == (3, 0)
        assert ours.value == pytest.approx((treated - plain).mean())
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
        assert getattr(twin, f"baseline_{quantity}") == pytest.approx(plain.mean())
        assert getattr(twin, f"treated_{quantity}") == pytest.approx(treated.mean())


def test_a_run_without_its_twin_counts_in_no_mean_and_is_named() -> None:
    """Seed 2 of width 8 lacks its treated twin: its baseline would pull the mean of the others."""
    frame = _study()
    lonely = (frame["size"] == 8) & (frame["seed"] == 2) & (frame["objective_weight"] == 10)
    frame.loc[(frame["size"] == 8) & (frame["seed"] == 2), "score"] = 0.0
    twin = _differences(frame[~lonely])["size 8"]
    assert (twin.n, twin.n_unpaired) == (2, 1)
    assert twin.baseline_score > 0.4
    none = _differences(frame[~((frame["size"] == 8) & (frame["objective_weight"] == 10))])["size 8"]
    assert (none.n, none.n_unpaired, none.score, none.accuracy) == (0, 3, None, None)


def test_one_seed_has_a_difference_without_an_interval() -> None:
    twin = _differences(_study().query("seed == 0"))["size 8"]
    assert (twin.n, twin.score.low) == (1, None)


def test_pairs_never_mix_what_they_differ_in() -> None:
    """Twins of two datasets and of two lengths of training are four pairs of one configuration each, not one."""
    frames = [_study(dataset=dataset, epochs=epochs) for dataset in ("digits", "cifar10") for epochs in (10, 20)]
    found = _differences(pd.concat(frames))
    assert len(found) == 8
    assert {twin.n for twin in found.values()} == {3}
    assert "cifar10 size 8 epochs 10.0" in found


def test_unequal_benchmarks_of_twins_pair_one_by_one() -> None:
    """The baseline has two benchmarks, its twin one: the other is in no mean."""
    scored = (("a", "easy", 0.9), ("a", "hard", 0.3), ("b", "hard", 0.4))
    rows = [
        {"size": size, "seed": seed, "objective": name, "benchmark": benchmark, "accuracy": 0.5, "score": score}
        for size in "sm"
        for seed in (0, 1)
        for name, benchmark, score in scored
    ]
    table = ScalingTable.from_frame(pd.DataFrame(rows))
    arrows = treatment_arrows(table, {"objective": "b"}, {"objective": "a"}, over="seed")
    assert [(arrow.baseline[1], arrow.treated[1], arrow.n) for arrow in arrows] == [(0.3, 0.4, 2)] * 2


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        ([("harmonizer", 0.0), ("harmonizer", 10.0)], TWINS),
        ([("supervised", np.nan), ("harmonizer", 10.0)], Twins("supervised", ("harmonizer weight=10",))),
        ([("supervised", np.nan), ("harmonizer", 0.0), ("harmonizer", 10.0)], TWINS),
        ([("harmonizer", 10.0), ("simclr", np.nan)], None),
        ([("supervised", np.nan), ("harmonizer", 0.0)], None),
    ],
)
def test_which_objectives_are_twins(objectives: list[tuple[str, float]], expected: Twins | None) -> None:
    rows = [{"objective": name if np.isnan(weight) else f"{name} weight={weight:g}", "objective_name": name,
             "objective_weight": weight, "score": 0.1} for name, weight in objectives]  # fmt: skip
    assert find_twins(ScalingTable.from_frame(pd.DataFrame(rows))) == expected


def test_there_are_no_twins_where_the_columns_are_missing() -> None:
    assert find_twins(ScalingTable.from_frame(_study().drop(columns="objective_weight"))) is None


def test_figure_joins_means_over_seeds_with_their_intervals() -> None:
    frame = _study()
    frame["accuracy"] = 0.9 + 0.002 * frame["seed"]
    frame["score"] = 0.3 * (frame["objective_weight"] > 0) + 0.06 + 0.01 * (frame["seed"] - 1)
    frame = frame[frame["size"] == 8]
    figure = plot_twins({"saliency": ScalingTable.from_frame(frame)}, TWINS)
    assert figure is not None
    assert "simulated" in figure.get_suptitle()
    (panel,) = figure.axes
    (legend,) = figure.legends
    assert any("n = 3 seeds" in text.get_text() for text in legend.get_texts())
    ends = [line.get_xydata() for line in panel.lines if str(line.get_label()).startswith("baseline")]
    np.testing.assert_allclose(ends, [[[0.902, 0.06], [0.902, 0.36]]], atol=1e-12)
    half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    spans = [path.vertices for bars in panel.collections for path in bars.get_paths()]
    assert any(np.allclose(span[:, 1], [0.36 - half, 0.36 + half]) for span in spans)


def test_there_is_no_figure_without_twins() -> None:
    frame = _study()
    alone = ScalingTable.from_frame(frame[frame["objective_weight"] > 0])
    few = ScalingTable.from_frame(frame.iloc[:2])
    assert plot_twins({"saliency": alone}, TWINS) is None
    assert plot_twins({"saliency": few}, TWINS) is None


def test_arrows_join_a_baseline_and_its_treated_twin() -> None:
    frame = pd.DataFrame({"size": ["s", "m"] * 2, "seed": 0, "objective": ["plain"] * 2 + ["harmonized"] * 2,
                          "accuracy": [0.5, 0.6, 0.52, 0.61], "score": [0.3, 0.32, 0.36, 0.4]})  # fmt: skip
    arrows = treatment_arrows(ScalingTable.from_frame(frame), {"objective": "harmonized"}, {"objective": "plain"})
    assert {a.name: (a.baseline, a.treated) for a in arrows}["s 0"] == ((0.5, 0.3), (0.52, 0.36))


def test_arrows_over_seeds_are_means_with_t_intervals() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame([{"size": size, "seed": seed, "objective": objective, "images_per_class": None,
                           "accuracy": 0.5 + 0.01 * rng.normal(), "score": 0.3 + 0.1 * (objective == "b")}
                          for size in "sm" for seed in range(4) for objective in "ab"])  # fmt: skip
    lonely = frame[~((frame["seed"] == 3) & (frame["objective"] == "b"))]  # seed 3 has no twin
    arrows = treatment_arrows(ScalingTable.from_frame(lonely), {"objective": "b"}, {"objective": "a"}, over="seed")
    assert [(arrow.name, arrow.n) for arrow in arrows] == [("m", 3), ("s", 3)]
    paired = frame[(frame["size"] == "s") & (frame["objective"] == "a") & (frame["seed"] < 3)]["accuracy"]
    assert arrows[1].baseline_interval is not None
    found = arrows[1].baseline_interval[0]
    expected = stats.t.interval(0.95, 2, paired.mean(), stats.sem(paired))
    assert (found.low, found.high) == pytest.approx(expected)
    assert arrows[1].treated == pytest.approx((found.value, 0.4), abs=0.03)
    one = treatment_arrows(
        ScalingTable.from_frame(frame[frame["seed"] == 0]), {"objective": "b"}, {"objective": "a"}, over="seed"
    )
    assert [(arrow.n, arrow.treated_interval) for arrow in one] == [(1, None)] * 2
    with pytest.raises(ValueError, match="over='flops' is not one of several columns"):
        treatment_arrows(ScalingTable.from_frame(frame), {"objective": "b"}, {"objective": "a"}, over="flops")
