"""How often the intervals of an answer cover the planted truth: exponents, offset, N_opt and score, by status.

    python tests/benchmarks/bench_coverage.py [--repeats 100] [--bootstrap 300]

y = E + A·N^-alpha + B·D^-beta on grids as studies have them (N 16- to 256-fold, D 100- to 1,000-fold, C = 6 N D), with
log-normal noise of runs and scatter of configurations. N_opt and score at 1, 3 and 10 times the largest run's compute.
One line a status and quantity: how often the 95 % interval covers, of how many; then the same by setting.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from analysis import ComputeMap, Recipe, ScalingTable, fit_law
from analysis.recipe.optimum import chinchilla_optimum

AXES = ("n_params", "samples_seen")
COMPUTE = ComputeMap(kind="given", m=6, n=1, gamma=1)
TIMES = (1.0, 3.0, 10.0)  # the largest run's compute
N_LEAST, D_LEAST, START = 1e5, 1e4, 0.9


@dataclass(frozen=True)
class Setting:
    """A planted law on a grid. share_E: E over y of the cheapest run; fold: largest over smallest N and D."""

    grid: tuple[int, int]
    fold: tuple[float, float]
    alpha: float
    beta: float
    share_E: float
    seeds: int
    noise: float
    scatter: float

    def params(self) -> dict[str, float]:
        rest = START * (1 - self.share_E) / 2
        return {"E": START * self.share_E, "A": rest * N_LEAST**self.alpha, "alpha": self.alpha,
                "B": rest * D_LEAST**self.beta, "beta": self.beta}  # fmt: skip

    def table(self, rng: np.random.Generator) -> ScalingTable:
        sides = ((N_LEAST, self.fold[0], self.grid[0]), (D_LEAST, self.fold[1], self.grid[1]))
        N, D = (a.ravel() for a in np.meshgrid(*(np.geomspace(x, x * fold, n) for x, fold, n in sides)))
        p, shared = self.params(), rng.normal(0, self.scatter, len(N))
        y = p["E"] + p["A"] * N**-self.alpha + p["B"] * D**-self.beta
        runs = [pd.DataFrame({"n_params": N, "samples_seen": D, "flops": 6 * N * D, "seed": seed,
                              "score": 1 - y * np.exp(shared + rng.normal(0, self.noise, len(N)))})
                for seed in range(self.seeds)]  # fmt: skip
        return ScalingTable.from_frame(pd.concat(runs))


SETTINGS = [
    Setting(grid, fold, alpha, beta, share, seeds, noise, scatter)
    for (grid, fold, seeds), (alpha, beta), share, (noise, scatter) in product(
        (((4, 4), (16.0, 100.0), 2), ((4, 6), (64.0, 300.0), 2), ((6, 6), (256.0, 1000.0), 2)),
        ((0.35, 0.3), (0.1, 0.25), (0.5, 0.15), (0.8, 0.6), (0.25, 0.8)),
        (0.0, 0.3, 0.7),
        ((0.01, 0.005), (0.03, 0.02)),
    )
]


def truth(setting: Setting, flops: float) -> dict[str, float]:
    p = setting.params()
    N, D = chinchilla_optimum(p, COMPUTE, np.asarray(flops))
    return {"N": float(N), "score": float(1 - (p["E"] + p["A"] * N ** -p["alpha"] + p["B"] * D ** -p["beta"]))}


def one(job: tuple[int, int, int]) -> tuple[int, str, dict[str, tuple[float, float, float, float]]]:
    """Status, and by quantity: truth, estimate, interval."""
    at, repeat, bootstrap = job  # a repeat's number seeds it
    setting = SETTINGS[at]
    table = setting.table(np.random.default_rng((at, repeat)))
    law = fit_law(table, "chinchilla", AXES, bootstrap=bootstrap, seed=repeat)
    found: dict[str, tuple[float, float, float, float]] = {}
    if law.usable:
        for name in ("E", "alpha", "beta"):
            found[name] = (setting.params()[name], law.params[name], *law.interval(name))
        recipe = Recipe.from_law(law, compute=COMPUTE)
        for times in TIMES:
            flops = times * float(table.values("flops").max())
            best, true = recipe.allocate(flops), truth(setting, flops)
            if best.n_params is not None and best.n_params.low is not None:
                found[f"N {times:g}x"] = (true["N"], best.n_params.value, best.n_params.low, best.n_params.high)
                score = best.scores["score"]
                found[f"score {times:g}x"] = (true["score"], score.value, score.low, score.high)
    return at, law.status, found


def outcomes(repeats: range, bootstrap: int) -> Iterator[tuple[int, str, dict]]:
    jobs = [(at, repeat, bootstrap) for repeat in repeats for at in range(len(SETTINGS))]
    with ProcessPoolExecutor() as pool:
        yield from pool.map(one, jobs, chunksize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--bootstrap", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="Number of the first repeat.")
    parser.add_argument("--save", default="", help="Write every outcome as Parquet.")
    args = parser.parse_args()
    statuses, rows = defaultdict(int), []
    for at, status, found in outcomes(range(args.first, args.first + args.repeats), args.bootstrap):
        statuses[status] += 1
        rows += [(at, status, name, *values) for name, values in found.items()]
    table = pd.DataFrame(rows, columns=["setting", "status", "quantity", "truth", "value", "low", "high"])
    table["covered"] = (table.low <= table.truth) & (table.truth <= table.high)
    if args.save:
        table.to_parquet(args.save)
    print(pd.Series(statuses).to_string())
    print(table.pivot_table(index="quantity", columns="status", values="covered", aggfunc=["mean", "size"]).round(3))


if __name__ == "__main__":
    main()
