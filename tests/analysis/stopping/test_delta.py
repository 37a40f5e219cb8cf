"""How much surer a run makes what is asked: against refitting with that run, and against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis import ScalingTable
from analysis.fit.fit import fit_with_squares
from analysis.fit.spec import FitSpec
from analysis.recipe.optimum import chinchilla_optimum
from analysis.recipe.recipe import Recipe
from analysis.stopping.delta import Candidate, Linear, choose, linear_score, linear_split

BUDGET = 1e18
SPEC = FitSpec(form="chinchilla", axes=("n_params", "samples_seen"), bootstrap=0)


@pytest.fixture(scope="module")
def rows(plant: Callable[..., ScalingTable]) -> ScalingTable:
    return plant("chinchilla", n=5, noise=0.01, seed=3)


@pytest.fixture(scope="module")
def split(rows: ScalingTable) -> Linear:
    law, squares = fit_with_squares(rows, SPEC)
    assert squares is not None
    found = linear_split("resnet", "", squares, Recipe.from_law(law), BUDGET)
    assert found is not None
    return found


def candidates(n: int = 4) -> list[Candidate]:
    grid = itertools.product(np.geomspace(3e5, 3e8, n), np.geomspace(1e4, 1e8, n))
    return [Candidate(f"r{i}", "resnet", f"c{i}", N, D, 6 * N * D) for i, (N, D) in enumerate(grid)]


def test_the_variance_is_that_of_further_experiments(plant: Callable[..., ScalingTable], split: Linear) -> None:
    """The spread of ln N_opt over 40 experiments of the same noise."""
    found = []
    for seed in range(40):
        law, squares = fit_with_squares(plant("chinchilla", n=5, noise=0.01, seed=100 + seed), SPEC)
        assert squares is not None
        names = squares.task.design.names
        params = dict(zip(names, squares.task.design.natural(squares.theta[None])[0], strict=True))
        compute = Recipe.from_law(law).compute
        assert compute is not None
        found.append(float(np.log(chinchilla_optimum(params, compute, np.asarray(BUDGET))[0])))
    assert np.std(found) == pytest.approx(split.variance**0.5, rel=0.4)


def test_a_runs_drop_is_that_of_the_matrix_with_its_row(split: Linear) -> None:
    information = np.linalg.inv(split.covariance)
    for candidate, weight in itertools.product(candidates()[::3], (1.0, 0.5)):
        j = split.row("resnet", candidate.n_params, candidate.samples_seen, candidate.flops)
        wider = replace(split, covariance=np.linalg.inv(information + weight * np.outer(j, j)))
        assert split.drop(j, weight) == pytest.approx(split.variance - wider.variance, rel=1e-5)
        assert split.after(j, weight).variance == pytest.approx(wider.variance, rel=1e-5)


def test_a_row_is_the_laws_derivative(rows: ScalingTable, split: Linear) -> None:
    _, squares = fit_with_squares(rows, SPEC)
    assert squares is not None
    design, N, D = squares.task.design, 2e7, 3e6
    at = design.over([np.array([N]), np.array([D])], np.zeros(1, dtype=np.int64))
    steps = 1e-6 * np.eye(len(squares.theta))
    numeric = [
        np.log(at.predict((squares.theta + h)[None]) / at.predict((squares.theta - h)[None]))[0, 0] / 2e-6
        for h in steps
    ]
    assert split.row("resnet", N, D, 0.0) == pytest.approx(numeric, rel=1e-4, abs=1e-9)
    assert not split.row("vit", N, D, 0.0).any(), "a family that the law does not hold tells it nothing"


@pytest.mark.parametrize("run_flops", [0.0, 1e16])
def test_choose_is_brute_force(split: Linear, run_flops: float) -> None:
    """Each run is the one with the largest drop per cost, the matrix with all rows before inverted anew."""
    left, taken = candidates(), []
    information = np.linalg.inv(split.covariance)
    chosen = choose([split], [], left, 5, run_flops)
    for got in chosen:
        base = replace(split, covariance=np.linalg.inv(information)).variance

        def gain(c: Candidate, base: float = base, before: np.ndarray = information) -> float:
            j = split.row("resnet", c.n_params, c.samples_seen, c.flops)
            wider = replace(split, covariance=np.linalg.inv(before + np.outer(j, j)))
            return (base - wider.variance) / (c.flops + run_flops)

        best = max((c for c in left if c not in taken), key=gain)
        assert got == best
        taken.append(best)
        j = split.row("resnet", best.n_params, best.samples_seen, best.flops)
        information = information + np.outer(j, j)


def test_a_seed_again_counts_less(split: Linear) -> None:
    one = candidates()[5]
    twin = replace(one, run_id="twin")
    other = replace(one, run_id="other", configuration="elsewhere", n_params=one.n_params * 1.01)
    assert choose([split], [one], [twin, other], 1, 0.0) == [other]


def test_what_tells_nothing_goes_cheapest_first(split: Linear) -> None:
    foreign = [replace(c, family="vit") for c in candidates()]
    assert choose([split], [], foreign, 3, 0.0) == foreign[:3]


def test_a_predicted_score(plant: Callable[..., ScalingTable]) -> None:
    law, squares = fit_with_squares(plant("power_law", n=5, noise=0.02, seed=1),
                                    FitSpec(form="power_law", axes=("flops",), bootstrap=300))  # fmt: skip
    assert squares is not None
    found = linear_score("resnet", "", squares, Recipe.from_law(law), BUDGET)
    assert found is not None
    low, high = law.band(flops=BUDGET)  # of absolute residuals, which normal noise leaves less sure
    assert 0.4 < 2 * found.reach / float(np.log(high / low)[0]) < 1.1
