"""The compute-optimal split equals a brute-force minimum, and recipes answer from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from analysis import ComputeMap
from analysis.recipe.optimum import chinchilla_optimum, chinchilla_reach, numeric_optimum, power_reach

exponent = st.floats(0.1, 0.9)


def _brute_force(params: dict[str, float], compute: ComputeMap, flops: float) -> tuple[float, float]:
    """N and L of least misalignment on the isoFLOP curve."""

    def loss(log_n: float) -> float:
        N = np.exp(log_n)
        D = compute.samples(N, flops)
        return float(params["A"] * N ** -params["alpha"] + params["B"] * D ** -params["beta"])

    # the loss is convex in ln N: a bounded search in it finds the minimum, refined on its derivative's sign
    rough = minimize_scalar(loss, bounds=(0, 60), method="bounded", options={"xatol": 1e-10}).x
    low, high = rough - 1e-2, rough + 1e-2
    for _ in range(80):
        middle = (low + high) / 2
        slope = loss(middle + 1e-4) - loss(middle - 1e-4)
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp((low + high) / 2)), loss((low + high) / 2) + params["E"]


@settings(max_examples=60)
@given(alpha=exponent, beta=exponent, ratio=st.floats(0.1, 10), gamma=st.floats(0.7, 1.2), n=st.floats(0.9, 1.1),
       exponent_c=st.floats(16, 22))  # fmt: skip
def test_optimum_equals_brute_force(
    alpha: float, beta: float, ratio: float, gamma: float, n: float, exponent_c: float
) -> None:
    params = {"E": 0.4, "A": 0.3 * 1e6**alpha, "alpha": alpha, "B": 0.3 * ratio * 1e6**beta, "beta": beta}
    compute, flops = ComputeMap(kind="given", m=500.0, n=n, gamma=gamma), 10.0**exponent_c
    N, D = chinchilla_optimum(params, compute, np.asarray(flops))
    best, loss = _brute_force(params, compute, flops)
    assert float(N) == pytest.approx(best, rel=1e-6)
    assert float(compute.flops(N, D)) == pytest.approx(flops, rel=1e-9)
    assert float(chinchilla_reach(params, compute, np.asarray(loss))) == pytest.approx(flops, rel=1e-5)


def test_the_sign_slip_would_be_caught() -> None:
    """With negated exponents the prefactor turns into its inverse: far from the brute-force minimum."""
    params = {"E": 0.5, "A": 143.0, "alpha": 0.58, "B": 3.87, "beta": 0.22}
    compute = ComputeMap(kind="given", m=6.0, n=1.0, gamma=1.0)
    right, _ = chinchilla_optimum(params, compute, np.asarray(1e20))
    G = (params["alpha"] * params["A"] / (params["beta"] * params["B"])) ** (1 / (params["alpha"] + params["beta"]))
    assert float(right) == pytest.approx(_brute_force(params, compute, 1e20)[0], rel=1e-6)
    assert abs(float(right) / G**2 / float(right) - 1) > 0.1


@settings(max_examples=15)
@given(alpha=exponent, beta=exponent)
def test_numeric_optimum_of_repeated_data_tends_to_the_closed_form(alpha: float, beta: float) -> None:
    """With more unique images than samples seen nothing repeats: the optimum is Chinchilla's."""
    params = {"E": 0.4, "A": 0.3 * 1e6**alpha, "alpha": alpha, "B": 0.3 * 1e6**beta, "beta": beta, "R_star": 5.0}
    compute = ComputeMap(kind="forward", m=1e3, n=1.0, gamma=0.9)
    shaped = {name: np.atleast_1d(value) for name, value in params.items()}
    N, _ = numeric_optimum("data_constrained", shaped, compute, 1e19, unique=1e15)
    closed, _ = chinchilla_optimum(params, compute, np.asarray(1e19))
    assert 1e2 < closed < 1e14
    assert float(N[0]) == pytest.approx(float(closed), rel=1e-5)


def test_scarce_images_favour_size() -> None:
    params = {k: np.atleast_1d(v) for k, v in
              {"E": 0.4, "A": 60.0, "alpha": 0.4, "B": 30.0, "beta": 0.4, "R_star": 5.0}.items()}  # fmt: skip
    compute = ComputeMap(kind="forward", m=1e3, n=1.0, gamma=1.0)
    few, many = (numeric_optimum("data_constrained", params, compute, 1e19, u)[0][0] for u in (1e5, 1e12))
    assert few > many


def test_power_law_inverse_and_asymptote() -> None:
    params = {"E": 0.52, "A": 60.0, "alpha": 0.157}
    flops = power_reach(params, np.asarray(0.6))
    assert 0.52 + 60 * float(flops) ** -0.157 == pytest.approx(0.6)
    assert np.isinf(power_reach(params, np.asarray(0.52)))
    assert np.isinf(power_reach(params, np.asarray(0.3)))
