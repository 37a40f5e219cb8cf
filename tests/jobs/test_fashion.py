"""The studies on Fashion-MNIST and the committed tables of their results: they belong together, and their laws hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from analysis import FittedLaw, Recipe, ScalingTable, fit_law
from scaling.study import expand_study, load_study

STUDIES = Path(__file__).parents[2] / "jobs/studies"


@pytest.fixture(scope="module")
def table() -> ScalingTable:
    return ScalingTable.from_csv(STUDIES / "fashion_by_hand.csv").with_accuracy()


@pytest.fixture(scope="module")
def laws(table: ScalingTable) -> dict[str, FittedLaw]:
    options = {"form": "chinchilla", "axes": ("n_params", "samples_seen"), "shared_by": "family", "bootstrap": 100}
    return {region: fit_law(table.select(region=region), **options) for region in ("accuracy", "IT")}


def test_the_table_holds_every_run_of_the_study_file(table: ScalingTable) -> None:
    runs = expand_study(load_study(STUDIES / "fashion_by_hand.yaml"))
    assert len(runs) == 2 * 4 * 5 * 2
    assert {run.run_id for run in runs} == set(table.unique("run_id"))
    assert len(table) == 80 * (5 + 1)


def test_the_law_of_accuracy_is_identified_and_that_of_simulated_it_weakly(laws: dict[str, FittedLaw]) -> None:
    assert laws["accuracy"].verdict.weak == ("E[alexnet]",)
    assert laws["accuracy"].params["alpha"] == pytest.approx(0.43, abs=0.02)
    assert laws["accuracy"].params["beta"] == pytest.approx(0.62, abs=0.02)
    assert "alpha" in laws["IT"].verdict.weak
    assert "beta" not in laws["IT"].verdict.weak


def test_a_family_is_as_well_identified_as_its_own_and_the_shared_parameters(laws: dict[str, FittedLaw]) -> None:
    """The offset of AlexNets is weakly identified, which is nothing to ResNets."""
    resnet, alexnet = (Recipe.from_laws(laws, group=name).allocate(1e14, "accuracy") for name in ("resnet", "alexnet"))
    assert (resnet.status, resnet.why) == ("ok", "")
    assert (alexnet.status, alexnet.why) == ("weakly identified", "the loss stays flat along E")
    assert "law                     ok\n" in resnet.text()
    assert "law                     weakly identified: the loss stays flat along E\n" in alexnet.text()
    assert resnet.n_params is not None
    assert resnet.n_params.value == pytest.approx(5.5e5, rel=0.1)
    it = Recipe.from_laws(laws, group="resnet").allocate(1e14, "IT")
    assert (it.status, it.why) == ("weakly identified", "the loss stays flat along E, A, alpha")


def test_a_recipe_of_accuracy_first_still_says_simulated(laws: dict[str, FittedLaw]) -> None:
    assert Recipe.from_laws(laws, group="resnet").simulated
    assert not Recipe.from_laws({"accuracy": laws["accuracy"]}, group="resnet").simulated


def test_tuned_rates_are_a_laws_and_models_no_worse_than_those_of_rates_by_hand(table: ScalingTable) -> None:
    tuned = ScalingTable.from_csv(STUDIES / "fashion.csv").with_accuracy()
    runs = expand_study(load_study(STUDIES / "fashion.yaml"))
    cells = Counter((run.model.family_name, run.model.size, run.seed) for run in runs)
    found = tuned.select(region="accuracy").frame
    assert Counter(zip(found.family, found["size"], found.seed, strict=True)) == cells
    by_hand = table.select(region="accuracy").frame
    for family in ("resnet", "alexnet"):
        mean = [rows[rows.family.str.startswith(family)].score.mean() for rows in (found, by_hand)]
        assert mean[0] > mean[1]
    law = fit_law(tuned.select(region="accuracy"), form="chinchilla", axes=("n_params", "samples_seen"),
                  shared_by="family", bootstrap=100)  # fmt: skip
    assert law.verdict.weak == ()
    assert law.params["beta"] == pytest.approx(0.56, abs=0.02)
