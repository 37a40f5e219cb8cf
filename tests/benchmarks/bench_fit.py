"""Speed and depth of the fits against the published protocol, on the same resamples, in one run.

    python tests/benchmarks/bench_fit.py [--starts 4500] [--chinchilla 2] [--power-law 8] [--coverage 0]

The published protocol (Gokce & Schrimpf 2025): SciPy's BFGS with numerical gradients from every start of a grid
(4,500 for E + A·N^-alpha + B·D^-beta, 150 for E + A·C^-alpha), one process a core, again for each resample. Its
objective is written here in NumPy; theirs is compiled, which their own time of 168 s for one Chinchilla grid on one
core includes. Ours: `solve_global` and `solve_resamples` on the same data and weights. Without the published CSV the
data are planted laws of the same size.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.optimize import minimize

from analysis import FORMS, ScalingTable, fit_law
from analysis.forms import Array, Design, evaluate_form
from analysis.multistart import Task, solve_global, solve_resamples
from analysis.solver import cores, huber

DELTA, BOOTSTRAPS, SEED = 1e-3, 1000, 42
GRID = {"e": [-1, -0.5, 0, 0.5, 1], "a": [0, 5, 10, 15, 20, 25], "alpha": [0, 0.5, 1, 1.5, 2]}
SCALES = {"chinchilla": (1e5, 1e4), "power_law": (1e13,)}
FLAGS = ("is_pretrained", "is_random", "is_ssl", "is_adv", "is_ablation")


def data(form: str) -> tuple[list[Array], Array]:
    """Axes and misalignment of the published table, or of a planted law."""
    path = Path(os.environ.get("SCALING_DATA_DIR", Path(__file__).resolve().parents[3] / "shared" / "data"))
    axes = FORMS[form].default_axes
    if (csv := path / "gokce2025" / "benchmark_scores.csv").exists():
        table = ScalingTable.from_csv(csv).select(dataset=["imagenet", "ecoset"], **dict.fromkeys(FLAGS, False))
        regions = ["V1", "V2", "V4", "IT", *(["behavior"] if form == "chinchilla" else [])]
        rows = table.select(region=regions).mean_over("region").require("accuracy")
        if form == "chinchilla":
            big = rows.column("images_per_class").isna() | (rows.column("images_per_class") == 300).fillna(False)
            wide = rows.column("family").isin(["ConvNeXt", "ConvNeXtFlex", "ViT", "ViTFlex"])
            rows = rows.where((~wide | big).to_numpy(dtype=bool))
        return [rows.values(name) for name in axes], 1 - rows.values("score")
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(11, 19, 444)), np.exp(rng.uniform(10, 19, 444))
    X = [N, D] if form == "chinchilla" else [3000 * N * D]
    params = {"E": 0.5, "A": 140.0, "alpha": 0.58, "B": 3.9, "beta": 0.22} if form == "chinchilla" else {
        "E": 0.5, "A": 60.0, "alpha": 0.16}  # fmt: skip
    return X, evaluate_form(FORMS[form], params, X) * np.exp(rng.laplace(0, 0.05, 444))


def grid(form: str, limit: int) -> Array:
    """The published grid of starts (e, a, alpha[, b, beta]), thinned evenly to `limit`."""
    axes = [GRID["e"], GRID["a"], GRID["alpha"]] + ([GRID["a"], GRID["alpha"]] if form == "chinchilla" else [])
    starts = np.array(list(product(*axes)), dtype=np.float64)
    return starts[np.linspace(0, len(starts) - 1, min(limit, len(starts))).astype(int)]


def published_fit(job: tuple[str, Array, int]) -> tuple[float, float]:
    """Least loss over the grid of BFGS starts on one resample, and the seconds that it took."""
    form, weights, limit = job
    X, y = data(form)
    rows = np.repeat(np.arange(len(y)), weights.astype(int))
    logs = [np.log(x[rows] / scale) for x, scale in zip(X, SCALES[form], strict=True)]
    log_y = np.log(y[rows])

    def objective(theta: Array) -> float:
        terms = sum(np.exp(theta[1 + 2 * k] - theta[2 + 2 * k] * log_x) for k, log_x in enumerate(logs))
        return float(huber(np.log(terms + np.exp(theta[0])) - log_y, DELTA).sum())

    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    with np.errstate(all="ignore"):
        losses = [minimize(objective, start, method="BFGS").fun for start in grid(form, limit)]
    return float(np.nanmin(losses)), time.perf_counter() - begun


def ours(form: str) -> tuple[Array, Array, float, float]:
    """Weights, losses of all resamples, seconds for the full fit and for the resamples."""
    X, y = data(form)
    design = Design(FORMS[form], X)
    task = Task(design, np.log(y), DELTA, *design.bounds(y))
    weights = (
        np.random.default_rng(SEED).multinomial(len(y), np.full(len(y), 1 / len(y)), size=BOOTSTRAPS).astype(float)
    )
    begun = time.perf_counter()
    optima = solve_global(task, np.ones(len(y)))
    full = time.perf_counter() - begun
    found = solve_resamples(task, weights, optima)
    return weights, found.loss, full, time.perf_counter() - begun - full


def compare(form: str, resamples: int, limit: int) -> None:
    """One line of the table: both protocols on the first `resamples` resamples."""
    weights, losses, full, seconds = ours(form)
    with ProcessPoolExecutor(cores()) as pool:
        theirs = list(pool.map(published_fit, [(form, weights[i], limit) for i in range(resamples)]))
    starts = len(grid(form, 10**9))
    each = np.mean([t for _, t in theirs]) * starts / len(grid(form, limit))
    worse = [ours_ > loss * (1 + 1e-9) for ours_, (loss, _) in zip(losses, theirs, strict=False)]
    margin = max(o / loss - 1 for o, (loss, _) in zip(losses, theirs, strict=False))
    per_core = seconds * cores() / BOOTSTRAPS
    print(f"{form:<12}{starts:>7}{resamples:>10}{each:>12.1f}{per_core * 1e3:>11.2f}{each / per_core:>12,.0f}x"
          f"{full:>9.2f}{seconds:>9.2f}{sum(worse):>8}{margin:>11.1e}", flush=True)  # fmt: skip


def all_fits() -> None:
    """Seconds for the eight published fits with 1,000 bootstraps each, through `fit_law`."""
    path = Path(os.environ.get("SCALING_DATA_DIR", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (csv := path / "gokce2025" / "benchmark_scores.csv").exists():
        return
    begun = time.perf_counter()
    table = ScalingTable.from_csv(csv).select(dataset=["imagenet", "ecoset"], **dict.fromkeys(FLAGS, False))
    aliases = {"ResNetFlex": "ResNet"}
    group = table.alias("family", aliases).select(family=["ResNet", "EfficientNet", "CORnet-S", "AlexNet"])
    jobs: list[Callable[[], object]] = [
        lambda: fit_law(table.select(region=["V1", "V2", "V4", "IT"]).mean_over("region").require("accuracy")),
        lambda: fit_law(table.select(region="behavior").require("accuracy")),
        lambda: fit_law(table.mean_over("region").require("accuracy"), "chinchilla", ("n_params", "samples_seen")),
        *(lambda r=region: fit_law(group.select(region=r)) for region in ("V1", "V2", "V4", "IT", "behavior")),  # type: ignore[misc]
    ]
    for job in jobs:
        job()
    print(f"eight published fits, 1,000 bootstraps each: {time.perf_counter() - begun:.1f} s")


def coverage(studies: int) -> None:
    """Share of planted laws that the 95 % intervals hold, by parameter (test_intervals.py, larger)."""
    import pandas as pd

    truth = {"E": 0.4, "A": 0.2 * 3e5**0.45, "alpha": 0.45, "B": 0.35 * 1e4**0.3, "beta": 0.3}
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(3e5, 3e8, 10), np.geomspace(1e4, 1e8, 10)))
    y, hits = evaluate_form(FORMS["chinchilla"], truth, [N, D]), []
    for seed in range(studies):
        noisy = y * np.exp(np.random.default_rng(seed).normal(0, 0.03, len(y)))
        table = ScalingTable.from_frame(pd.DataFrame({"n_params": N, "samples_seen": D, "score": 1 - noisy}))
        law = fit_law(table, "chinchilla", ("n_params", "samples_seen"), bootstrap=400, seed=seed)
        hits.append([law.interval(n)[0] <= v <= law.interval(n)[1] for n, v in truth.items()])
    shares = np.mean(hits, axis=0)
    by_name = ", ".join(f"{n} {s:.3f}" for n, s in zip(truth, shares, strict=True))
    print(f"coverage of 95 % intervals, {studies} studies of 100 runs: {by_name}; all {shares.mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=4500, help="BFGS starts at most; fewer are scaled up in time")
    parser.add_argument("--chinchilla", type=int, default=2, help="resamples of the Chinchilla form for BFGS")
    parser.add_argument("--power-law", type=int, default=8, help="resamples of the power law for BFGS")
    parser.add_argument("--coverage", type=int, default=0, help="studies of the coverage test")
    args = parser.parse_args()
    print(f"{cores()} cores; times in seconds, one core's unless said otherwise; {BOOTSTRAPS} resamples for ours")
    print(f"{'form':<12}{'starts':>7}{'resamples':>10}{'BFGS s/fit':>12}{'ours ms':>11}{'ratio':>13}"
          f"{'full s':>9}{'1000 s':>9}{'worse':>8}{'margin':>11}", flush=True)  # fmt: skip
    compare("power_law", args.power_law, args.starts)
    compare("chinchilla", args.chinchilla, args.starts)
    all_fits()
    if args.coverage:
        coverage(args.coverage)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
