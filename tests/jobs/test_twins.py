"""Studies of several objectives: their names, their laws apart, arrows between twins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import ray
from scipy import stats

from analysis import ScalingTable
from jobs.answer import by_region, file_name, fit_study, study_recipes
from jobs.run import RunOptions, run_study
from jobs.twins import Twins, name_objectives, objective_names, study_twins, twins_figure
from scaling.errors import StudyError
from scaling.study import expand_study

BASELINE, TREATED = {"name": "harmonizer", "weight": 0}, {"name": "harmonizer", "weight": 3}
MODELS = [{"family": "resnet", "depth": 10, "sizes": [2, 4]}]


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(models=MODELS, seeds=[0, 1, 2], objectives=[BASELINE, TREATED])


@pytest.fixture(scope="module")
def table(study):
    """Scores of every run: treated ones 0.3 higher, seeds 0.01 apart; one row a run."""
    rows = []
    for run in expand_study(study):
        treated = run.objective == study.objectives[1]
        rows.append({
            "run_id": run.run_id, "family": run.model.family, "size": run.model.size, "depth": run.model.depth,
            "seed": run.seed, "images_per_class": run.images_per_class, "objective": "harmonizer", "epoch": 2,
            "n_params": 1e4 * run.model.size, "samples_seen": 40.0, "flops": 1e9 * run.model.size * (1 + treated),
            "accuracy": 0.9 + 0.002 * run.seed, "score": 0.1 * run.model.size / 4 + 0.3 * treated + 0.01 * run.seed,
            "region": "saliency", "benchmark": "simulated-human-alignment.max_abs",
        })  # fmt: skip
    return name_objectives(ScalingTable.from_frame(pd.DataFrame(rows)), study)


def test_objectives_are_told_apart_by_the_options_in_which_they_differ(make_study):
    names = objective_names(make_study(objectives=["supervised", "simclr", BASELINE, TREATED]))
    assert list(names.values()) == ["supervised", "simclr", "harmonizer weight=0", "harmonizer weight=3"]
    assert list(objective_names(make_study(objective=TREATED)).values()) == ["harmonizer"]


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        ([BASELINE, TREATED], Twins("harmonizer weight=0", ("harmonizer weight=3",))),
        (["supervised", TREATED], Twins("supervised", ("harmonizer",))),
        (["supervised", BASELINE, TREATED], Twins("harmonizer weight=0", ("harmonizer weight=3",))),
        ([TREATED, "simclr"], None),
        (["supervised", BASELINE], None),
    ],
)
def test_which_objectives_are_twins(make_study, objectives, expected):
    assert study_twins(make_study(objectives=objectives)) == expected


def test_no_law_mixes_objectives(table):
    assert table.unique("family") == ["resnet harmonizer weight=0", "resnet harmonizer weight=3"]
    laws = fit_study(table)
    assert set(laws.compute) == {("saliency", family) for family in table.unique("family")}
    assert set(study_recipes(laws, table)) <= set(table.unique("family"))
    assert file_name("resnet harmonizer weight=3") == "resnet-harmonizer-weight-3"


def test_a_study_of_one_objective_keeps_its_table(make_study, table):
    assert name_objectives(table, make_study()) is table


def test_arrows_join_means_over_seeds_with_their_intervals(study, table):
    figure = twins_figure(by_region(table), study_twins(study))
    assert "simulated" in figure.get_suptitle()
    (panel,) = figure.axes
    (legend,) = figure.legends
    assert any("n = 3 seeds" in text.get_text() for text in legend.get_texts())
    ends = [line.get_xydata() for line in panel.lines if str(line.get_label()).startswith("baseline")]
    np.testing.assert_allclose(ends, [[[0.902, 0.06], [0.902, 0.36]]], atol=1e-12)
    half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    spans = [path.vertices for bars in panel.collections for path in bars.get_paths()]
    assert any(np.allclose(span[:, 1], [0.36 - half, 0.36 + half]) for span in spans)


def test_there_is_no_figure_without_twins(study, table):
    twins = study_twins(study)
    alone = table.select(objective=twins.treated[0])
    assert twins_figure(by_region(alone), twins) is None
    assert twins_figure(by_region(table.where(np.arange(len(table)) < 2)), twins) is None


@pytest.mark.parametrize(
    ("dataset", "benchmark", "message"),
    [
        ("digits", "human-alignment", r"human-alignment needs importance maps .* there are none \(digits held-out\)"),
        ("simulated-clickme", "human-alignment.max_abs", r"are simulated; name simulated-human-alignment"),
    ],
)
def test_maps_that_are_missing_or_simulated_are_refused_before_ray_starts(
    make_study, tmp_path, dataset, benchmark, message
):
    study = make_study(dataset=dataset, benchmarks=[benchmark], storage=str(tmp_path / "results"))
    options = RunOptions(tmp_path, use_mlflow=False, cache_dir=tmp_path / "cache")
    with pytest.raises(StudyError, match=message):
        run_study(study, options)
    assert not ray.is_initialized()
    assert not list((tmp_path / "results").rglob("*.parquet"))
