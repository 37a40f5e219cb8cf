"""The batched solver: planted laws come back, and SciPy finds nothing lower."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize

from analysis.fit.design import Design
from analysis.fit.forms import evaluate_form, find_form
from analysis.fit.multistart import Task, grid_starts, solve_global, solve_resamples
from analysis.fit.solver import Problems, _Given, _system, huber
from analysis.fit.workspace import Workspace

unit = st.floats(0.0, 1.0)


def _plane(n: int = 11) -> list[np.ndarray]:
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(2e5, 2e8, n), np.geomspace(3e4, 3e8, n)))
    epochs = np.resize([1.0, 3.0, 10.0, 40.0, 150.0], len(D))
    return [N, D / epochs, D]


def _task(form: str, X: list[np.ndarray], y: np.ndarray, delta: float = 1e-3) -> Task:
    design = Design(find_form(form), X)
    return Task(design, np.log(y), delta, *design.bounds(y))


def _check_recovery(form: str, X: list[np.ndarray], params: dict[str, float], delta: float = 1e-3) -> None:
    y = evaluate_form(find_form(form), params, X)
    task = _task(form, X, y, delta)
    found = task.design.natural(solve_global(task, np.ones(len(y))).theta[:1])[0]
    np.testing.assert_allclose(found, [params[name] for name in task.design.names], rtol=1e-8)


@settings(max_examples=40)
@given(e=unit, height=unit, alpha=st.floats(0.05, 1.2), squares=st.booleans())
def test_power_law_is_recovered(e: float, height: float, alpha: float, squares: bool) -> None:
    x = np.geomspace(1e13, 1e20, 80)
    params = {"E": 0.05 + 0.6 * e, "A": (0.1 + height) * 1e13**alpha, "alpha": alpha}
    _check_recovery("power_law", [x], params, np.inf if squares else 1e-3)


@settings(max_examples=30)
@given(e=unit, a=unit, b=unit, alpha=st.floats(0.1, 1.0), beta=st.floats(0.1, 1.0))
def test_chinchilla_is_recovered(e: float, a: float, b: float, alpha: float, beta: float) -> None:
    N, _, D = _plane()
    params = {"E": 0.05 + 0.6 * e, "A": (0.1 + a) * N.min() ** alpha, "alpha": alpha,
              "B": (0.1 + b) * D.min() ** beta, "beta": beta}  # fmt: skip
    _check_recovery("chinchilla", [N, D], params)


@settings(max_examples=10)
@given(alpha=st.floats(0.2, 0.8), beta=st.floats(0.2, 0.8), r_star=st.floats(2.0, 30.0))
def test_data_constrained_is_recovered(alpha: float, beta: float, r_star: float) -> None:
    N, U, D = _plane()
    params = {"E": 0.3, "A": 0.3 * N.min() ** alpha, "alpha": alpha, "B": 0.4 * U.min() ** beta, "beta": beta,
              "R_star": r_star}  # fmt: skip
    _check_recovery("data_constrained", [N, U, D], params)


@settings(max_examples=10)
@given(alpha=st.floats(0.15, 0.7), decades=st.floats(1.0, 3.5))
def test_shifted_power_law_is_recovered(alpha: float, decades: float) -> None:
    x, shift = np.geomspace(1e13, 1e20, 120), 1e13 * 10**decades
    params = {"E": 0.3, "A": 0.5 * (1e13 + shift) ** alpha, "alpha": alpha, "shift": shift}
    _check_recovery("shifted_power_law", [x], params)


def test_groups_share_exponents() -> None:
    x, group = np.tile(np.geomspace(1e13, 1e20, 40), 2), np.repeat([0, 1], 40)
    y = np.where(group == 0, 0.3 + 50 * x**-0.15, 0.5 + 90 * x**-0.15)
    design = Design(find_form("power_law"), [x], group, ("V1", "IT"))
    task = Task(design, np.log(y), 1e-3, *design.bounds(y))
    found = dict(zip(design.names, design.natural(solve_global(task, np.ones(80)).theta[:1])[0], strict=True))
    expected = {"E[V1]": 0.3, "E[IT]": 0.5, "A[V1]": 50, "A[IT]": 90, "alpha": 0.15}
    assert found == pytest.approx(expected, rel=1e-8)


def _noisy(form: str = "chinchilla", seed: int = 0) -> Task:
    rng, (N, _, D) = np.random.default_rng(seed), _plane()
    y = (0.4 + 60 * N**-0.45 + 5 * D**-0.28) * np.exp(rng.laplace(0, 0.05, len(N)))
    return _task(form, [N, D] if form == "chinchilla" else [6 * N * D], y)


@pytest.mark.parametrize("form", ["power_law", "chinchilla"])
def test_scipy_finds_nothing_lower(form: str) -> None:
    """BFGS from many starts in the published parametrization, on the data and on resamples."""
    task = _noisy(form)
    n, rng = len(task.log_y), np.random.default_rng(1)
    weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=30)[:3]])
    optima = solve_global(task, weights[0])
    ours = solve_resamples(task, weights, optima).loss
    logs = [np.log(x / x.min()) for x in task.design.X]

    def objective(theta: np.ndarray, w: np.ndarray) -> float:
        y = np.exp(theta[0]) + sum(np.exp(theta[1 + 2 * k] - theta[2 + 2 * k] * u) for k, u in enumerate(logs))
        return float(w @ huber(np.log(y) - task.log_y, task.delta))

    starts = rng.uniform([-2, *([-3, 0] * len(logs))], [0, *([1, 1.5] * len(logs))], size=(12, 1 + 2 * len(logs)))
    for w, loss in zip(weights, ours, strict=True):
        theirs = min(scipy_minimize(objective, s, (w,), method="BFGS").fun for s in starts)
        assert loss <= theirs * (1 + 1e-9)


@pytest.mark.parametrize("form", ["power_law", "chinchilla", "shifted_power_law", "data_constrained"])
def test_gradient_matches_differences(form: str) -> None:
    N, U, D = _plane(5)
    X = {1: [N * D], 2: [N, D], 3: [N, U, D]}[find_form(form).n_axes]
    y = 0.4 + 60 * N**-0.45 + 5 * D**-0.28
    task = _task(form, X, y)
    theta = np.clip(np.full((1, task.design.n_params), 0.4), task.lower + 1, task.upper - 0.1)
    theta[:, 0] = 0.3
    data = _Given(np.ones((1, len(y))), task.log_y[None], task.lower[None], task.upper[None])
    delta, mu = np.array([np.inf]), np.array([1.0])
    _, gradient, _ = _system(task.design, theta, data, delta, mu, Workspace())
    for j in range(task.design.n_params):
        step = np.zeros_like(theta)
        step[:, j] = 1e-6
        up, down = (_system(task.design, theta + s * step, data, delta, mu, Workspace())[0][0] for s in (1, -1))
        assert gradient[0, j] == pytest.approx((up - down) / 2e-6, rel=2e-5, abs=1e-7)


def test_resamples_reach_the_optimum_of_a_fit_of_their_own() -> None:
    task = _noisy(seed=3)
    n = len(task.log_y)
    weights = np.random.default_rng(2).multinomial(n, np.full(n, 1 / n), size=40).astype(float)
    together = solve_resamples(task, weights, solve_global(task, np.ones(n))).loss
    alone = [solve_global(task, w).loss[0] for w in weights[:10]]
    assert (together[:10] <= np.array(alone) * (1 + 1e-8)).all()


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    task = _noisy(seed=4)
    n = len(task.log_y)
    weights = np.random.default_rng(2).multinomial(n, np.full(n, 1 / n), size=600).astype(float)
    optima = solve_global(task, np.ones(n))
    first = solve_resamples(task, weights, optima).theta
    monkeypatch.setattr("analysis.fit.solver.cores", lambda: 1)
    np.testing.assert_array_equal(first, solve_resamples(task, weights, optima).theta)


def test_offset_may_be_fixed_or_bounded() -> None:
    task = _noisy()
    design = task.design
    fixed = Task(design, task.log_y, 1e-3, *design.bounds(np.exp(task.log_y), (0.25, 0.25)))
    assert solve_global(fixed, np.ones(len(task.log_y))).theta[0, 0] == 0.25
    bounded = Task(design, task.log_y, 1e-3, *design.bounds(np.exp(task.log_y), (0.0, 0.3)))
    assert solve_global(bounded, np.ones(len(task.log_y))).theta[0, 0] <= 0.3


def test_huber_is_squares_inside_and_absolute_outside() -> None:
    np.testing.assert_allclose(huber(np.array([0.5, -0.5, 3.0, -3.0]), 1.0), [0.125, 0.125, 2.5, 2.5])
    np.testing.assert_allclose(huber(np.array([3.0]), np.inf), [4.5])


def test_problems_are_plain_data() -> None:
    assert Problems.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["power_law", "chinchilla", "shifted_power_law", "data_constrained"])
def test_starts_given_up_early_lose_nothing(form: str) -> None:
    """Every start of the grid, run until it rests, ends no lower."""
    rng, (N, U, D) = np.random.default_rng(4), _plane(8)
    y = (0.4 + 60 * N**-0.45 + 5 * D**-0.28) * np.exp(rng.laplace(0, 0.08, len(N)))
    task = _task(form, {1: [N * D], 2: [N, D], 3: [N, U, D]}[find_form(form).n_axes], y)
    starts, one = grid_starts(task), np.ones((1, len(y)))
    everything = task.solve(starts, one, np.zeros(len(starts), dtype=np.int64))
    assert solve_global(task, one[0]).loss[0] <= everything.loss.min() * (1 + 1e-9)


@pytest.mark.parametrize("form", ["power_law", "chinchilla"])
def test_resamples_find_what_a_search_of_each_finds(form: str) -> None:
    task, rng = _noisy(form, seed=2), np.random.default_rng(3)
    n = len(task.log_y)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=40).astype(float)
    together = solve_resamples(task, weights, solve_global(task, np.ones(n))).loss
    alone = np.array([solve_global(task, w).loss[0] for w in weights])
    assert (together <= alone * (1 + 1e-4)).all()
    assert (together > alone * (1 + 1e-9)).sum() <= 1  # of many shallow basins one may be missed


def test_the_same_on_one_core_and_on_four(monkeypatch: pytest.MonkeyPatch) -> None:
    task, found = _noisy(), []
    weights = np.random.default_rng(5).multinomial(121, np.full(121, 1 / 121), size=900).astype(float)
    for cores in (1, 4):
        monkeypatch.setattr("analysis.fit.solver.cores", lambda cores=cores: cores)
        found.append(solve_resamples(task, weights, solve_global(task, np.ones(121))).theta)
    np.testing.assert_array_equal(*found)
