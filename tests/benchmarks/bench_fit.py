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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from analysis import FORMS, ComputeMap, Estimate, Recipe, ScalingTable, fit_law
from analysis.columns import Array
from analysis.fit.design import Design
from analysis.fit.forms import evaluate_form
from analysis.fit.multistart import Task, solve_global, solve_resamples
from analysis.fit.solver import cores, huber
from analysis.recipe.optimum import chinchilla_optimum

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
    named = table.with_columns(family=table.column("family").replace(aliases))
    group = named.select(family=["ResNet", "EfficientNet", "CORnet-S", "AlexNet"])
    jobs: list[Callable[[], object]] = [
        lambda: fit_law(table.select(region=["V1", "V2", "V4", "IT"]).mean_over("region").require("accuracy")),
        lambda: fit_law(table.select(region="behavior").require("accuracy")),
        lambda: fit_law(table.mean_over("region").require("accuracy"), "chinchilla", ("n_params", "samples_seen")),
        *(lambda r=region: fit_law(group.select(region=r)) for region in ("V1", "V2", "V4", "IT", "behavior")),  # type: ignore[misc]
    ]
    for job in jobs:
        job()
    print(f"eight published fits, 1,000 bootstraps each: {time.perf_counter() - begun:.1f} s")


@dataclass(frozen=True)
class Planted:
    """Studies with a known law: sizes x data x seeds, each run off the law by log-normal noise."""

    form: str
    truth: Mapping[str, float]
    n_params: tuple[float, float, int]  # geomspace
    samples_seen: tuple[float, float, int]
    seeds: int
    noise: float

    def rows(self, seed: int) -> ScalingTable:
        grid = np.meshgrid(np.geomspace(*self.n_params), np.geomspace(*self.samples_seen))
        N, D = (np.repeat(a.ravel(), self.seeds) for a in grid)
        frame = pd.DataFrame({"n_params": N, "samples_seen": D, "flops": PLANTED_COMPUTE.flops(N, D)})
        y = self.law([frame[name].to_numpy() for name in FORMS[self.form].default_axes])
        return ScalingTable.from_frame(
            frame.assign(score=1 - y * np.exp(np.random.default_rng(seed).normal(0, self.noise, len(y))))
        )

    def law(self, X: Sequence[Any]) -> Array:
        return evaluate_form(FORMS[self.form], self.truth, X)

    @property
    def label(self) -> str:
        grid = f"{self.n_params[2]}x{self.samples_seen[2]}x{self.seeds}"
        return f"{self.form:<12}{grid:>9}{self.noise:>7.0%}"


PLANTED_COMPUTE = ComputeMap(kind="given", m=6.0, n=1.0, gamma=1.0)
BEYOND = 10.0  # budget of the predictions: this many times the largest run
FIRST = Planted("chinchilla", {"E": 0.4, "A": 0.2 * 3e5**0.45, "alpha": 0.45, "B": 0.35 * 1e4**0.3, "beta": 0.3},
                (3e5, 3e8, 10), (1e4, 1e8, 10), 1, 0.03)  # fmt: skip
SECOND_TRUTH = {
    "power_law": {"E": 0.15, "A": 0.6 * 6e13**0.22, "alpha": 0.22},
    "chinchilla": {"E": 0.2, "A": 0.25 * 1e6**0.34, "alpha": 0.34, "B": 0.4 * 1e7**0.38, "beta": 0.38},
}
SECOND = [
    Planted(form, truth, (1e6, 1e9, n), (1e7, 1e10, d), seeds, noise)
    for form, truth in SECOND_TRUTH.items()
    for n, d, seeds in ((5, 5, 3), (8, 4, 2))
    for noise in (0.02, 0.06)
]


def covered(planted: Planted, seed: int, bootstrap: int) -> dict[str, bool | None]:
    """Whether the 95 % interval of each parameter, and of what the recipe predicts, holds the truth.

    The score is judged at the allocation that the recipe names (for a law in compute, at the budget); what a recipe
    gives no number for is None.
    """
    rows = planted.rows(seed)
    law = fit_law(rows, planted.form, bootstrap=bootstrap, seed=seed)
    budget = BEYOND * float(rows.values("flops").max())
    spans = {name: (value, *law.interval(name)) for name, value in planted.truth.items()}
    split = Recipe.from_law(law, compute=PLANTED_COMPUTE).allocate(budget) if law.usable else None
    if split:
        X = [split.n_params.value, split.samples_seen.value] if split.n_params and split.samples_seen else [budget]
        score = split.scores["score"]
        spans["score"] = (1 - float(planted.law(X)), *span(score))
        if split.n_params:
            truth = {name: np.asarray(value) for name, value in planted.truth.items()}
            best = chinchilla_optimum(truth, PLANTED_COMPUTE, np.asarray(budget))[0]
            spans["optimum"] = (float(best), *span(split.n_params))
    hits: dict[str, bool | None] = {name: low <= value <= high for name, (value, low, high) in spans.items()}
    return {name: hits.get(name) for name in COVERED} | {"usable": law.usable, "ok": law.status == "ok"}


def span(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


COVERED = ("E", "A", "alpha", "B", "beta", "score", "optimum")


def coverage(studies: int, bootstrap: int = 300) -> None:
    """Share of planted studies whose 95 % intervals hold the truth, on two designs (test_intervals.py, larger).

    Parameters: over all studies, identified or not; score and optimum (N) at ten times the compute of the largest run:
    over the usable fits.
    """
    print(f"coverage of 95 % intervals, {studies} studies a line, {bootstrap} bootstraps; grid: sizes x data x seeds; "
          f"score and optimum at {BEYOND:g}x the largest run")  # fmt: skip
    print(f"{'form':<12}{'grid':>9}{'noise':>7}" + "".join(f"{n:>9}" for n in (*COVERED, "usable", "ok")))
    for planted in (FIRST, *SECOND):
        table = pd.DataFrame([covered(planted, seed, bootstrap) for seed in range(studies)])
        shares = table.astype("boolean").mean()
        cells = "".join(f"{'' if pd.isna(share) else format(share, '.3f'):>9}" for share in shares)
        print(planted.label + cells, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=4500, help="BFGS starts at most; fewer are scaled up in time")
    parser.add_argument("--chinchilla", type=int, default=2, help="resamples of the Chinchilla form for BFGS")
    parser.add_argument("--power-law", type=int, default=8, help="resamples of the power law for BFGS")
    parser.add_argument("--coverage", type=int, default=0, help="planted studies a line of the coverage table")
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
