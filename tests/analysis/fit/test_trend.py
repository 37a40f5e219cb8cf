"""Does it scale? The regression against SciPy and closed forms, and each of its answers on data made to deserve it."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit
from scipy.stats import linregress, t

from analysis import Recipe, ScalingTable, fit_law
from analysis.fit.cells import cells_of
from analysis.fit.noise import precisions
from analysis.fit.trend import LEVEL, Trend, find_trend

Plant = Callable[..., ScalingTable]


def benchmark(name: str) -> ModuleType:
    """A script of tests/benchmarks as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def trend_of(X: list[np.ndarray], y: np.ndarray, cluster: np.ndarray | None = None, margin: float = 0.05) -> Trend:
    n = len(y)
    own = np.arange(n) if cluster is None else cluster
    cells = cells_of(X, y, own, np.zeros(n, dtype=np.int64), np.zeros(n))
    return find_trend(cells, ("n_params", "samples_seen", "n_samples")[: len(X)], margin)


def grid(rng: np.random.Generator, rise_n: float, rise_d: float, noise: float, n: int = 4) -> tuple[list, np.ndarray]:
    """ln y changes by rise_n along N and by rise_d along D over a grid."""
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n)))
    y = 0.5 * np.exp(rise_n * u + rise_d * v + rng.normal(0, noise, n * n))
    return [1e5 * 16**u, 1e4 * 100**v], y


def test_one_axis_is_scipys_regression() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e10, 1e14, 9)
    y = 0.4 * x**-0.05 * np.exp(rng.normal(0, 0.1, 9))
    span = np.log(x.max() / x.min())
    theirs = linregress(np.log(x) / span, np.log(y))
    reach = t.ppf(0.975, 7) * theirs.stderr
    total = trend_of([x], y).total
    assert total.dof == 7
    assert total.value == pytest.approx(theirs.slope)
    assert total.interval(LEVEL) == pytest.approx((theirs.slope - reach, theirs.slope + reach))


def test_two_axes_are_ordinary_squares_in_closed_form() -> None:
    X, y = grid(np.random.default_rng(1), -0.3, -0.5, 0.05)
    u = np.column_stack([np.ones(16), *(np.log(x / x.min()) / np.log(x.max() / x.min()) for x in X)])
    beta = np.linalg.solve(u.T @ u, u.T @ np.log(y))
    cov = np.linalg.inv(u.T @ u) * np.sum((np.log(y) - u @ beta) ** 2) / 13
    found = trend_of(X, y)
    assert [c.value for c in found.axes] == pytest.approx(beta[1:])
    assert [c.error for c in found.axes] == pytest.approx(np.sqrt(np.diag(cov))[1:])
    assert found.total.value == pytest.approx(beta[1] + beta[2])
    assert found.total.error == pytest.approx(np.sqrt(cov[1, 1] + cov[2, 2] + 2 * cov[1, 2]))


def test_seeds_of_a_configuration_are_one_point() -> None:
    X, y = grid(np.random.default_rng(2), -0.3, -0.5, 0.05)
    twice = [np.tile(x, 2) for x in X]
    both = np.concatenate([y * 1.1, y / 1.1])
    once, found = trend_of(X, y), trend_of(twice, both, np.tile(np.arange(16), 2))
    assert found.total.value == pytest.approx(once.total.value)
    assert found.total.error == pytest.approx(once.total.error)
    assert found.n == 16


@pytest.mark.parametrize(
    ("rise_n", "rise_d", "noise", "expected"),
    [
        (-0.4, -0.6, 0.05, "falls"),
        (0.0, -0.6, 0.05, "falls"),
        (0.4, 0.3, 0.05, "rises"),
        (0.5, -0.5, 0.05, "mixed"),
        (0.0, 0.0, 0.01, "flat"),
        (0.0, 0.0, 0.2, "undetermined"),
    ],
)
def test_each_answer_where_it_is_deserved(rise_n: float, rise_d: float, noise: float, expected: str) -> None:
    said = [trend_of(*grid(np.random.default_rng(s), rise_n, rise_d, noise)).direction for s in range(20)]
    assert said.count(expected) >= 17, said


def test_flat_is_what_the_study_calls_flat() -> None:
    X, y = grid(np.random.default_rng(3), 0.0, 0.0, 0.03)
    assert trend_of(X, y, margin=0.02).direction == "undetermined"
    assert trend_of(X, y, margin=0.2).direction == "flat"


def test_an_undetermined_trend_says_how_many_more_would_decide() -> None:
    trend = trend_of(*grid(np.random.default_rng(4), -0.06, -0.06, 0.15))
    assert trend.direction == "undetermined"
    assert trend.more is not None
    assert trend.more > 2


def test_known_unequal_errors_weigh_and_narrow_the_interval() -> None:
    """Weighted squares in closed form; over many draws they cover, and are narrower than without the errors."""
    widths, covered = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = np.geomspace(1, 1e4, 12)
        error = np.where(np.arange(12) % 3 == 0, 0.3, 0.02)
        y = 0.5 * x**-0.05 * np.exp(rng.normal(0, error) + rng.normal(0, 0.02, 12))
        own, zero = np.arange(12), np.zeros(12, dtype=np.int64)
        with_errors, without = (
            find_trend(cells_of([x], y, own, zero, e), ("flops",)).total for e in (error, np.zeros(12))
        )
        low, high = with_errors.interval(LEVEL)
        covered.append(low <= -0.05 * np.log(1e4) <= high)
        widths.append(with_errors.error / without.error)
    assert np.median(widths) < 0.5
    assert 0.91 <= np.mean(covered) <= 0.985
    X, w = np.column_stack([np.ones(12), np.log(x) / np.log(1e4)]), precisions(np.ones((12, 1)), np.log(y), error)
    assert w.mean() == pytest.approx(1)
    assert w[1] / w[0] > 4
    assert (precisions(X, np.log(y), np.zeros(12)) == 1).all()


def test_axes_that_move_together_are_not_told_apart() -> None:
    """Size and data in lockstep: each alone is unknown, their total is not."""
    x = np.geomspace(1, 100, 8)
    y = 0.5 * x**-0.2 * np.exp(np.random.default_rng(5).normal(0, 0.02, 8))
    together = trend_of([1e5 * x, 1e4 * x], y)
    assert [change.known for change in together.axes] == [False, False]
    assert together.direction == "falls"
    against = trend_of([1e5 * x, 1e6 / x], y)
    assert against.direction == "undetermined"
    assert "do not tell" in against.reason


def test_checkpoints_of_models_trained_alike() -> None:
    """Samples vary within configurations alone: the sandwich over configurations stands in for their means."""
    rng = np.random.default_rng(6)
    model, D = np.repeat(np.arange(10), 5), np.tile(np.geomspace(1e4, 1e6, 5), 10)
    N = 1e5 * 2.0**model
    y = 0.6 * np.exp(-0.1 * np.log(D / 1e4) + rng.normal(0, 0.05, 10)[model] + rng.normal(0, 0.02, 50))
    trend = trend_of([N, D], y, model)
    assert trend.direction == "falls"
    low, high = trend.axes[1].interval(LEVEL)
    assert low < -0.1 * np.log(100) < high
    assert trend.axes[1].dof == 7


def test_three_configurations_are_too_few_for_two_axes() -> None:
    trend = trend_of([np.array([1.0, 2, 4]), np.array([1.0, 1, 2])], np.array([0.5, 0.4, 0.3]))
    assert trend.direction == "undetermined"
    assert "3 configurations; a trend needs 4 at least" in trend.reason


def test_a_law_that_bends_otherwise_misfits_and_names_the_axis() -> None:
    """y falls faster and faster along D, as no sum of power laws does."""
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e7, 5), np.geomspace(1e4, 1e6, 6)))
    v = np.log(D / 1e4) / np.log(100)
    y = 0.8 * np.exp(-0.9 * v**2) * (N / 1e5) ** -0.05 * np.exp(np.random.default_rng(7).normal(0, 0.02, 30))
    frame = pd.DataFrame({"n_params": N, "samples_seen": D, "flops": 6 * N * D, "score": 1 - y})
    law = fit_law(ScalingTable.from_frame(frame), "chinchilla", bootstrap=50)
    assert law.status == "misfits"
    assert "bend along samples_seen" in law.reason
    answer = Recipe.from_law(law).allocate(1e15)
    assert answer.n_params is None
    assert not answer.scores
    assert answer.inside is None
    assert answer.best_measured.value == pytest.approx(law.rows.values("score").max())


def test_inside_the_range_a_curve_without_parameters_predicts_with_t_intervals(plant: Plant) -> None:
    """An exponent in N that nothing bounds: the prediction and its interval are those of SciPy's curve_fit."""
    rng = np.random.default_rng(1)
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e8, 6), np.geomspace(1e4, 1e8, 6)))
    y = (0.4 + 5 * D**-0.3) * np.exp(rng.normal(0, 0.01, 36))
    frame = pd.DataFrame({"n_params": N, "samples_seen": D, "flops": 6 * N * D, "score": 1 - y})
    law = fit_law(ScalingTable.from_frame(frame), "chinchilla", bootstrap=0)
    assert law.status == "not identified"
    assert law.inside is not None
    value, low, high = law.inside.predict((np.array([1e6]), np.array([1e6])), 0.95)

    def curve(X: np.ndarray, E: float, b: float, beta: float) -> np.ndarray:
        return np.log(E + np.exp(b - beta * np.log(X)))

    found, cov = curve_fit(curve, D, np.log(y), p0=[0.4, np.log(5), 0.3])
    assert value[0] == pytest.approx(np.exp(curve(np.array([1e6]), *found)[0]), rel=3e-3)
    step = 1e-6
    j = [(curve(np.array([1e6]), *(found + step * e))[0] - curve(np.array([1e6]), *found)[0]) / step for e in np.eye(3)]
    theirs = t.ppf(0.975, 33) * np.sqrt(np.array(j) @ cov @ np.array(j))
    ours = np.log(high[0] / low[0]) / 2
    assert 0.8 * theirs < ours < 2.0 * theirs  # ours has the term in N beside it


def test_a_family_that_does_not_fall_shares_no_exponents(plant: Plant) -> None:
    rows = plant("chinchilla", n=5, noise=0.01).frame
    flat = rows.assign(family="flat", score=1 - 0.5 * np.exp(np.random.default_rng(0).normal(0, 0.01, len(rows))))
    both = ScalingTable.from_frame(pd.concat([rows.assign(family="falls"), flat]))
    law = fit_law(both, "chinchilla", shared_by="family", bootstrap=30)
    alone = fit_law(both.select(family="falls"), "chinchilla", bootstrap=0)
    assert law.groups == ("falls",)
    assert law.params["alpha"] == pytest.approx(alone.params["alpha"])
    assert law.excluded["flat"].status == "flat"
    recipe = Recipe.from_law(law)
    assert recipe.law("flat").status == "flat"
    assert "misalignment is flat" in recipe.allocate(1e18, "flat").reason
    assert recipe.allocate(1e18, "falls").n_params is not None


def test_planted_scaling_is_rarely_denied_and_flat_data_get_no_numbers() -> None:
    """A short run of tests/benchmarks/bench_status.py."""
    bench = benchmark("bench_status")
    flat = bench.measure(bench.Setting((4, 5), 2, 0.0, 0.03, 0.01), repeats=60)
    assert flat.get("falls", 0) <= 0.1
    assert flat.get("usable", 0) == 0
    falls = bench.measure(bench.Setting((3, 3), 2, 0.6, 0.03, 0.01), repeats=30)
    assert falls.get("falls", 0) == 1
    assert falls.get("usable", 0) >= 0.6
    assert falls["old: no scaling"] > 0.9
