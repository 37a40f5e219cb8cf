"""Recipes: allocations, compute for a score, reasons where there is no number, the round trip through JSON."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from analysis import (
    ComputeMap,
    Estimate,
    FittedLaw,
    Model,
    Recipe,
    ScalingTable,
    ask_recipe,
    fit_compute_map,
    fit_law,
)
from analysis.fit.inside import Inside
from analysis.recipe.allocation import Measured
from analysis.recipe.record import LawRecord

Plant = Callable[..., ScalingTable]


@pytest.fixture(scope="module")
def law(plant: Plant) -> FittedLaw:
    return fit_law(plant("chinchilla", noise=0.01), "chinchilla", ("n_params", "samples_seen"), bootstrap=150)


@pytest.fixture(scope="module")
def recipe(law: FittedLaw) -> Recipe:
    return Recipe.from_law(law, models=[Model(name="small", n_params=1e6), Model(name="large", n_params=1e8)])


def test_compute_maps_come_back(plant: Plant) -> None:
    rows = plant("chinchilla")
    forward = fit_compute_map(rows)
    assert (forward.kind, forward.n) == ("forward", 1.0)
    assert forward.gamma == pytest.approx(0.9)
    assert forward.m == pytest.approx(1500)
    assert forward.spread == pytest.approx(1.0)
    N, D, C = (rows.values(n) for n in ("n_params", "samples_seen", "flops"))
    np.testing.assert_allclose(forward.flops(N, D), C)
    np.testing.assert_allclose(forward.samples(N, C), D)
    exact = rows.with_columns(flops=7.0 * (N * D) ** 1.03)
    product = fit_compute_map(exact, "product")
    assert (product.m, product.n) == (pytest.approx(7.0), pytest.approx(1.03))


def test_one_size_makes_no_compute_map(plant: Plant) -> None:
    rows = plant("chinchilla")
    one = rows.where(rows.values("n_params") == rows.values("n_params")[0])
    with pytest.raises(ValueError, match="needs two sizes or more"):
        fit_compute_map(one)


def test_allocation_is_the_best_split_and_has_intervals(law: FittedLaw, recipe: Recipe) -> None:
    split = recipe.allocate(1e19)
    assert split.n_params
    assert split.samples_seen
    assert recipe.compute
    N, D = split.n_params, split.samples_seen
    assert N.low is not None
    assert N.high is not None
    assert N.low < N.value < N.high
    assert float(recipe.compute.flops(N.value, D.value)) == pytest.approx(1e19)
    for factor in (0.8, 1.25):
        other = recipe.compute.samples(factor * N.value, 1e19)
        assert law.predict(n_params=factor * N.value, samples_seen=other) > law.predict(
            n_params=N.value, samples_seen=D.value
        )
    assert split.scores["score"].value == pytest.approx(
        float(law.predict_score(n_params=N.value, samples_seen=D.value))
    )
    assert split.nearest is not None
    assert split.n_samples
    assert split.epochs
    assert split.n_samples * split.epochs == pytest.approx(D.value)
    assert split.gain_double["samples_seen"].value > 0
    assert split.extrapolation["samples_seen"] == pytest.approx(D.value / 1e8)


def test_exponents_of_the_optimum_sum_to_one(recipe: Recipe) -> None:
    found = recipe.exponents()
    assert recipe.compute
    total = recipe.compute.gamma * found["n_params"].value + found["samples_seen"].value
    assert total == pytest.approx(1.0)
    first, second = recipe.allocate(1e18), recipe.allocate(1e19)
    assert first.n_params
    assert second.n_params
    assert np.log10(second.n_params.value / first.n_params.value) == pytest.approx(found["n_params"].value)


def test_flops_for_a_score_and_back(recipe: Recipe) -> None:
    reach = recipe.flops_for(0.5)
    assert reach.flops
    assert recipe.allocate(reach.flops.value).scores["score"].value == pytest.approx(0.5)
    beyond = recipe.flops_for(0.7)
    assert beyond.flops is None
    assert beyond.asymptote
    assert beyond.asymptote.value == pytest.approx(0.6, abs=0.02)
    assert beyond.text().startswith(f"unreachable: asymptote {beyond.asymptote.text('.3f')}")


def test_save_load_answers_the_same(recipe: Recipe, tmp_path: Path) -> None:
    recipe.save(tmp_path / "recipe.json")
    loaded = Recipe.load(tmp_path / "recipe.json")
    assert loaded == recipe
    assert loaded.allocate(1e20) == recipe.allocate(1e20)
    assert ask_recipe(loaded, flops=1e20, score=0.5).to_dict()["allocation"]["n_params"]["value"] > 0


def test_a_recipe_saved_before_still_answers() -> None:
    """saved_before.json: format 1 as version 0.1 wrote it; the numbers are what it answered then."""
    best = Recipe.load(Path(__file__).with_name("saved_before.json")).allocate(1e14, "accuracy")
    assert best.n_params == Estimate(value=552851.2406999088, low=246443.9453515034, high=1009046.5588572415)
    assert best.scores["accuracy"] == Estimate(
        value=0.9157544464050359, low=0.9005901227732895, high=0.9242024599044205
    )


def test_a_law_in_compute_gives_scores_but_no_split(plant: Plant) -> None:
    answer = Recipe.from_law(fit_law(plant("power_law", noise=0.01), bootstrap=50)).allocate(1e19)
    assert answer.n_params is None
    assert "does not say how to split compute" in answer.reason
    assert answer.best_measured
    assert answer.best_measured.value > 0.4
    assert "falls by" in answer.trend
    assert answer.scores["score"].low is not None
    assert "no number" in answer.text()


def test_what_is_not_identified_gets_no_number(plant: Plant) -> None:
    law = fit_law(plant("constant", noise=0.2), "chinchilla", ("n_params", "samples_seen"), bootstrap=50)
    assert law.status == "undetermined"
    answer = Recipe.from_law(law).allocate(1e19)
    assert answer.n_params is None
    assert not answer.scores
    assert answer.reason.startswith("whether misalignment changes is undetermined: ")
    assert Recipe.from_law(law).flops_for(0.5).text().startswith("no number: whether misalignment changes")


def test_regions_with_their_own_laws(plant: Plant) -> None:
    rows = plant("chinchilla", noise=0.01)
    laws = {name: fit_law(rows.with_columns(region=name), "chinchilla", ("n_params", "samples_seen"), bootstrap=20)
            for name in ("V1", "IT")}  # fmt: skip
    recipe = Recipe.from_laws(laws)
    assert set(recipe.allocate(1e18, "IT").scores) == {"V1", "IT"}
    with pytest.raises(ValueError, match="no law for 'V4'; it has V1, IT"):
        recipe.allocate(1e18, "V4")


def test_shared_exponents_make_one_recipe_for_all_regions(plant: Plant) -> None:
    import pandas as pd

    rows = plant("chinchilla", noise=0.01).frame
    both = pd.concat([rows.assign(region="V1", score=1 - 1.2 * (1 - rows["score"])), rows.assign(region="IT")])
    law = fit_law(
        ScalingTable.from_frame(both), "chinchilla", ("n_params", "samples_seen"), shared_by="region", bootstrap=20
    )
    assert law.params["alpha"] == pytest.approx(0.45, rel=0.1)
    scores = Recipe.from_law(law).allocate(1e18).scores
    assert scores["IT"].value > scores["V1"].value


def test_an_optimum_far_beyond_what_was_measured_gets_no_number(law: FittedLaw) -> None:
    """Without the term in N all compute would go to data: at 1e18 FLOP, to a model of next to no parameters."""
    recipe = Recipe.from_law(law)
    record = recipe.law()
    draws = {**record.draws, "A": [value * 1e-12 for value in record.draws["A"]]}
    params = {**record.params, "A": record.params["A"] * 1e-12}
    thin = record.model_copy(update={"params": params, "draws": draws})
    answer = recipe.model_copy(update={"laws": dict.fromkeys(recipe.laws, thin)}).allocate(1e18)
    assert (answer.n_params, answer.scores) == (None, {})
    assert "times beyond the n_params measured; the law is ok" in answer.reason
    far = recipe.allocate(1e24)  # compute alone leads there
    assert far.n_params is not None
    assert far.extrapolation["n_params"] > 100


def test_explicit_compute_map(law: FittedLaw) -> None:
    given = ComputeMap(kind="given", m=6.0, n=1.0, gamma=1.0)
    split = Recipe.from_law(law, compute=given).allocate(1e18)
    assert split.n_params
    assert split.samples_seen
    assert 6 * split.n_params.value * split.samples_seen.value == pytest.approx(1e18)


@pytest.mark.parametrize(("spread", "told"), [(1e-4, True), (400.0, False)])
def test_a_curve_whose_interval_says_nothing_is_not_told(spread, told):
    """One parameter is left open inside the range too: a variance of ln A of `spread`."""
    at = Measured(name="w4", flops=1e9, n_params=1e4, samples_seen=1e5, value=0.4, runs=2)
    names = ("E", "A", "alpha", "B", "beta")
    covariance = np.diag([0.0, spread, 0.0, 0.0, 0.0])
    inside = Inside("chinchilla", names, (0.1, 3.0, 0.4, 2.0, 0.3), tuple(map(tuple, covariance.tolist())), 9)
    record = LawRecord(
        form="chinchilla", axes=("n_params", "samples_seen"), params={}, draws={}, left_out={}, status="not identified",
        reason="", weak=(), n_configurations=14, measured=(at,), inside=inside,
    )  # fmt: skip
    found = record.curve_at(at, 0.95)
    assert (found is not None) == told
    if found is not None:
        y = 0.1 + np.exp(3.0) * 1e4**-0.4 + np.exp(2.0) * 1e5**-0.3
        assert found.value == pytest.approx(1 - y)
        reach = t.ppf(0.975, 9) * np.sqrt(spread) * np.exp(3.0) * 1e4**-0.4 / y
        assert found.low == pytest.approx(1 - y * np.exp(reach), rel=1e-6)
