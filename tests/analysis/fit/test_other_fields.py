"""Fits published on tables of another field: the language models of Hoffmann et al. 2022.

hoffmann2022.csv: the 245 runs that Besiroglu et al. 2024 ("Chinchilla Scaling: A replication attempt", arXiv
2404.10102) read off Hoffmann's Figure 4 (github.com/Besiroglu/data, svg_extracted_data.csv), six significant digits.
As in their notebook, the training tokens are D = C / (6 N) and the five largest losses are left out.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import (
    ComputeMap,
    FitSpec,
    FittedLaw,
    Recipe,
    ScalingTable,
    ask_recipe,
    build_recipe,
    choose_form,
    compare_families,
    compare_forms,
    compute_envelope,
    fit_law,
    fit_targets,
    isoflop_profiles,
)
from analysis.fit.design import EXPONENT_LIMIT, Design
from analysis.fit.forms import FORMS, evaluate_form
from analysis.fit.solver import huber

CSV = Path(__file__).with_name("hoffmann2022.csv")
AXES = ("n_params", "samples_seen")
# Besiroglu et al. 2024, Table 1: value and standard error
REPLICATED = {"E": (1.8172, 0.03), "A": (482.01, 124.58), "B": (2085.43, 1293.23),
              "alpha": (0.3478, 0.02), "beta": (0.3658, 0.02)}  # fmt: skip
# Hoffmann et al. 2022, Approach 3, from the source of their paper
HOFFMANN = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}
CHINCHILLA = {"flops": 5.76e23, "n_params": 70e9}  # the model that Hoffmann et al. trained


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> ScalingTable:
    """All 245 runs, from a file in its authors' words."""
    path = tmp_path_factory.mktemp("hoffmann") / "svg_extracted_data.csv"
    pd.read_csv(CSV).rename(columns={"n_params": "Model Size", "flops": "Training FLOP"}).to_csv(path, index=False)
    table = ScalingTable.from_csv(path, {"Model Size": "n_params", "Training FLOP": "flops"})
    return table.with_columns(samples_seen=table.values("flops") / (6 * table.values("n_params")))


@pytest.fixture(scope="module")
def runs(everything: ScalingTable) -> ScalingTable:
    loss = everything.values("loss")
    return everything.where(loss < np.sort(loss)[-5], "five largest losses")


@pytest.fixture(scope="module")
def law(runs: ScalingTable) -> FittedLaw:
    return fit_law(runs, form="chinchilla", axes=AXES, target="loss", huber_delta=1e-3, bootstrap=1000, seed=0)


@pytest.fixture(scope="module")
def recipe(law: FittedLaw) -> Recipe:
    return Recipe.from_law(law)


def test_the_table_is_the_one_extracted(everything: ScalingTable, runs: ScalingTable) -> None:
    """Against what the replication's notebook prints of it."""
    assert (len(everything), len(runs)) == (245, 240)
    assert len(everything.unique("loss")) == 99
    extremes = {"n_params": (57334197.40687078, 16183346310.7305), "loss": (2.0773942450664395, 5.005581996196243),
                "flops": (1.3972367362937152e18, 1.2956022673438285e22),
                "samples_seen": (245105957.9245427, 317754489343.9688)}  # fmt: skip
    for name, (low, high) in extremes.items():
        assert everything.values(name).min() == pytest.approx(low, rel=5e-6)
        assert everything.values(name).max() == pytest.approx(high, rel=5e-6)
    deviations = {"n_params": 2464560600.107564, "flops": 1.0849637947784773e21, "samples_seen": 38025506115.73361,
                  "loss": 0.36438696455830627}  # fmt: skip
    for name, deviation in deviations.items():
        assert everything.values(name).std(ddof=1) == pytest.approx(deviation, rel=5e-6)


def test_the_published_replication_comes_out(law: FittedLaw) -> None:
    """Each parameter within a tenth of its published standard error."""
    assert (law.status, law.n_points, law.n_configurations) == ("ok", 240, 240)
    for name, (value, error) in REPLICATED.items():
        assert law.params[name] == pytest.approx(value, abs=0.1 * error), name


def test_no_published_parameters_fit_better(law: FittedLaw, runs: ScalingTable) -> None:
    def loss(params: dict[str, float]) -> float:
        y = evaluate_form(FORMS["chinchilla"], params, [runs.values(name) for name in AXES])
        return float(huber(np.log(y) - np.log(runs.values("loss")), 1e-3).sum())

    assert law.huber_loss == pytest.approx(loss(law.params), rel=1e-9)
    assert law.huber_loss <= loss({name: value for name, (value, _) in REPLICATED.items()})
    assert law.huber_loss < 0.85 * loss(HOFFMANN)


def test_intervals_agree_with_the_published_errors(law: FittedLaw) -> None:
    draws = {name: column.ravel() for name, column in law.draws_of().items()}
    for name, (value, error) in REPLICATED.items():
        low, high = law.interval(name)
        assert low < value < high
        assert 0.5 < draws[name].std() / error < 1.5, name


def test_optimum_is_the_published_one(law: FittedLaw, recipe: Recipe) -> None:
    """a = beta/(alpha+beta) = .5126 (their Table 1); about 20 tokens a parameter; Chinchilla within the interval."""
    exponents = recipe.exponents()
    assert exponents["n_params"].value == pytest.approx(0.5126, abs=0.002)
    alpha, beta = law.params["alpha"], law.params["beta"]
    assert exponents["n_params"].value == pytest.approx(beta / (alpha + beta), rel=1e-6)
    split = recipe.allocate(CHINCHILLA["flops"])
    assert split.n_params is not None
    assert split.samples_seen is not None
    assert split.n_params.low is not None
    assert split.n_params.high is not None
    assert split.n_params.low < CHINCHILLA["n_params"] < split.n_params.high
    assert 15 < split.samples_seen.value / split.n_params.value < 25
    assert (split.n_samples, split.epochs) == (None, None)


def test_predictions_are_losses_not_scores(law: FittedLaw, recipe: Recipe) -> None:
    answer = recipe.allocate(1e24)
    assert answer.n_params is not None
    assert answer.samples_seen is not None
    predicted = law.predict(n_params=answer.n_params.value, samples_seen=answer.samples_seen.value)
    assert answer.scores["loss"].value == pytest.approx(float(predicted))
    assert "loss                    1.9" in answer.text()
    assert answer.gain_double["n_params"].value > 0
    with pytest.raises(ValueError, match="target='loss', which gives no score; use predict"):
        law.predict_score(n_params=1e9, samples_seen=1e10)


def test_compute_for_a_loss_and_back(recipe: Recipe) -> None:
    reach = recipe.flops_for(2.0)
    assert reach.flops
    assert recipe.allocate(reach.flops.value).scores["loss"].value == pytest.approx(2.0)
    assert "FLOP for a loss of 2 (asymptote 1.817" in reach.text()
    assert recipe.flops_for(1.8).text().startswith("unreachable: asymptote 1.817")
    with pytest.raises(ValueError, match="loss=0 must be above 0"):
        recipe.flops_for(0.0)


def test_loss_recipes_save_and_load(recipe: Recipe, tmp_path: Path) -> None:
    recipe.save(tmp_path / "recipe.json")
    loaded = Recipe.load(tmp_path / "recipe.json")
    assert (loaded, loaded.quantity) == (recipe, "loss")
    assert loaded.flops_for(2.0) == recipe.flops_for(2.0)


def test_two_other_ways_to_the_optimum(runs: ScalingTable) -> None:
    """Hoffmann's Approaches 2 and 1 give .49 and .50 on all their runs; these are 240 of them, read off a figure."""
    for frontier, published in ((isoflop_profiles(runs, "loss"), 0.49), (compute_envelope(runs, "loss"), 0.50)):
        assert frontier.exponent_n == pytest.approx(published, abs=0.05)


def test_laws_in_compute(runs: ScalingTable) -> None:
    """Without a shift in the data the shifted power law is the power law, with shift 0 and not less."""
    plain = fit_law(runs, target="loss", bootstrap=0)
    shifted = fit_law(runs, "shifted_power_law", target="loss", bootstrap=200)
    assert shifted.params["shift"] == 0.0
    assert shifted.interval("shift")[0] == 0.0
    assert shifted.huber_loss == pytest.approx(plain.huber_loss, rel=1e-9)
    for name in ("E", "A", "alpha"):
        assert shifted.params[name] == pytest.approx(plain.params[name], rel=1e-4)
    answer = Recipe.from_law(plain).allocate(1e24)
    assert "does not say how to split compute" in answer.reason
    assert answer.scores["loss"].value == pytest.approx(float(plain.predict(flops=1e24)))


def test_columns_of_any_name_are_axes(runs: ScalingTable) -> None:
    """Configurations are told apart by the axes, also where neither samples_seen nor flops is there."""
    frame = runs.frame.rename(columns={"samples_seen": "tokens"}).drop(columns="flops")
    frame = frame.assign(n_params=frame["n_params"].round(-8))
    ours = frame.rename(columns={"tokens": "samples_seen"})
    theirs, known = (
        fit_law(ScalingTable.from_frame(f), "chinchilla", ("n_params", d), target="loss", bootstrap=0)
        for f, d in ((frame[frame["n_params"] > 0], "tokens"), (ours[ours["n_params"] > 0], "samples_seen"))
    )
    assert theirs.params == known.params
    assert theirs.n_configurations == known.n_configurations > 100
    split = Recipe.from_law(theirs).allocate(1e20)
    assert "fit axes=('n_params', 'samples_seen')" in split.reason


def test_a_table_without_scores_says_what_to_name(runs: ScalingTable) -> None:
    for ask in (fit_law, lambda rows: fit_targets(rows, FitSpec()), build_recipe):
        with pytest.raises(ValueError, match=r"no column 'score'.*target='loss'; its columns: flops, loss"):
            ask(runs)
    for compare in (compare_forms, choose_form, isoflop_profiles):
        with pytest.raises(ValueError, match="no column 'score'; its columns: flops, loss"):
            compare(runs)


def test_without_flops_a_given_map_splits_compute(law: FittedLaw, runs: ScalingTable, recipe: Recipe) -> None:
    bare = ScalingTable(runs.frame.drop(columns="flops"))
    lone = fit_law(bare, "chinchilla", AXES, target="loss", bootstrap=0)
    assert "no column 'flops'" in Recipe.from_law(lone).allocate(1e22).reason
    assert "ComputeMap(kind='given'" in Recipe.from_law(lone).allocate(1e22).reason
    split = Recipe.from_law(lone, compute=ComputeMap(kind="given", m=6, n=1, gamma=1)).allocate(1e22)
    fitted = recipe.allocate(1e22)
    assert split.n_params is not None
    assert fitted.n_params is not None
    assert split.n_params.value == pytest.approx(fitted.n_params.value, rel=1e-3)


def test_a_target_and_a_column_map_go_all_the_way(runs: ScalingTable, law: FittedLaw, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    names = {"Model Size": "n_params", "tokens": "samples_seen", "C": "flops"}
    runs.frame.rename(columns={ours: theirs for theirs, ours in names.items()}).to_csv(path, index=False)
    rows = ScalingTable.from_csv(path, names)
    fitted = fit_targets(rows, FitSpec(form="chinchilla", target="loss", bootstrap=0), extrapolate=True)
    assert fitted.laws["loss"].params == pytest.approx(law.params, rel=1e-6)
    best = fitted.extrapolation["loss"].chosen
    assert best.median_error < 0.1 * {t.form: t for t in fitted.extrapolation["loss"].trials}["constant"].median_error
    answer = ask_recipe(build_recipe(rows, target="loss", bootstrap=50), flops=1e24, score=2.0)
    assert "compute for the loss" in answer.text()
    for said in (fitted.to_dict(), answer.to_dict()):
        json.dumps(said, allow_nan=False)


def test_forms_are_compared_and_families_ranked_by_loss(runs: ScalingTable) -> None:
    test = compare_forms(runs, spec=FitSpec(target="loss"))
    errors = {trial.form: trial.median_error for trial in test.trials}
    assert choose_form(runs, spec=FitSpec(target="loss")) == test.chosen.form
    assert errors["chinchilla"] < 0.1 * errors["constant"]
    small = runs.values("n_params") < 1e9
    both = runs.with_columns(family=np.where(small, "small", "large"))
    ranking = compare_families(both, target="loss", bootstrap=50).rank(1e22)
    assert ranking.best == "large"
    assert 2.0 < ranking.scores["large"].value < ranking.scores["small"].value


def test_losses_average_over_seeds(runs: ScalingTable) -> None:
    twice = pd.concat([runs.frame.assign(seed=s, loss=runs.values("loss") + s) for s in (0, 2)])
    mean = ScalingTable.from_frame(twice).mean_over("seed", of="loss")
    assert len(mean) == len(runs)
    np.testing.assert_allclose(mean.values("loss"), runs.values("loss") + 1)


def test_what_rises_is_no_law_and_says_so(runs: ScalingTable) -> None:
    rising = fit_law(runs.with_columns(accuracy=1 / runs.values("loss")), target="accuracy", bootstrap=0)
    assert rising.status == "rises"
    assert "accuracy rises by" in rising.reason
    assert not rising.usable


def test_infinite_draws_survive_saving(law: FittedLaw, tmp_path: Path) -> None:
    """A weak law's draws may overflow natural units; JSON has no infinity."""
    from dataclasses import replace

    draws = law.draws.copy()
    draws[0, law.names.index("A")] = np.inf
    recipe = Recipe.from_law(replace(law, resampled=replace(law.resampled, draws=draws)))
    recipe.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == recipe
    json.loads((tmp_path / "recipe.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(("form", "shift"), [("power_law", 0.0), ("shifted_power_law", 2e18)])
def test_steep_terms_stay_finite_in_natural_units(form: str, shift: float) -> None:
    """At the exponent's limit A = e^a (x_min + shift)^50 overflows; the term keeps its value at x_min, and its fall."""
    x = np.geomspace(1e14, 1e20, 61)
    design = Design(FORMS[form], [x])
    theta = np.array([[0.5, np.log(0.3), EXPONENT_LIMIT, *([np.log(1e14 + shift)] if shift else [])]])
    exact = 0.5 + 0.3 * ((x + shift) / (1e14 + shift)) ** -EXPONENT_LIMIT
    np.testing.assert_allclose(design.predict(theta)[0], exact, rtol=1e-12)
    natural = design.natural(theta)
    assert np.isfinite(natural).all()
    y = evaluate_form(FORMS[form], dict(zip(design.names, natural[0], strict=True)), [x])
    assert y[0] == pytest.approx(0.8, rel=1e-9)
    np.testing.assert_allclose(y, exact, atol=0.1 * 0.3)
    np.testing.assert_allclose(y[-10:], 0.5, rtol=1e-6)
