"""What is said of planted laws, by the rule of this code and by the AICc rule that it replaced.

    python tests/benchmarks/bench_status.py [--repeats 200]

y = E + A·N^-.35 + B·D^-.30 on grids of N (16-fold) and D (100-fold), with log-normal noise of runs (seeds) and scatter
of configurations; a fall of 0 % has A = B = 0. One line a setting: how often each status is given, and how often the
95 % interval of the change covers it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import FittedLaw, ScalingTable, fit_law
from analysis.fit.cells import cells_of
from analysis.fit.criteria import aicc_of
from analysis.fit.status import USABLE
from analysis.fit.trend import LEVEL, find_trend

ALPHA, BETA, START = 0.35, 0.30, 0.8
N_FOLD, D_FOLD = 16.0, 100.0
OLD_MARGIN = 6.0  # AICc that the replaced rule asked for beyond the constant's
AXES = ("n_params", "samples_seen")


@dataclass(frozen=True)
class Setting:
    """A grid, the fall over it, noise of runs (seed) and of configurations (scatter), and its shape."""

    grid: tuple[int, int]
    seeds: int
    fall: float
    noise: float
    scatter: float
    kind: str = "normal"

    def text(self) -> str:
        return (
            f"{self.grid[0]} x {self.grid[1]}  {self.seeds} seeds  falls {self.fall:>4.0%}  noise {self.noise:.2f} "
            f"scatter {self.scatter:.2f} {self.kind:<8}"
        )


def truth(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N, D and y of each configuration."""
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e5 * N_FOLD, setting.grid[0]),
                                           np.geomspace(1e4, 1e4 * D_FOLD, setting.grid[1])))  # fmt: skip
    half = setting.fall * START / 2
    a, b = half / (1 - N_FOLD**-ALPHA), half / (1 - D_FOLD**-BETA)
    return N, D, START - a - b + a * (N / 1e5) ** -ALPHA + b * (D / 1e4) ** -BETA


def draw(setting: Setting, rng: np.random.Generator) -> ScalingTable:
    """A table of runs."""
    N, D, y = truth(setting)
    shared = rng.normal(0, setting.scatter, len(N))
    parts = []
    for seed in range(setting.seeds):
        noise = rng.standard_t(3, len(N)) / np.sqrt(3) if setting.kind == "t3" else rng.normal(size=len(N))
        if setting.kind == "outliers":
            noise = noise * np.where(rng.random(len(N)) < 0.05, 5.0, 1.0)
        score = 1 - y * np.exp(shared + setting.noise * noise)
        parts.append(pd.DataFrame({"n_params": N, "samples_seen": D, "flops": 6 * N * D, "seed": seed, "score": score}))
    return ScalingTable.from_frame(pd.concat(parts))


def old_rule(law: FittedLaw) -> bool:
    """Whether the replaced rule said "no scaling": AICc of rows, Laplace, one parameter for the constant."""
    constant = np.log(np.median(law.y)) - np.log(law.y)
    n, delta = law.n_configurations, float(law.spec.huber_delta or np.inf)
    return aicc_of(constant, delta, n, 1) - aicc_of(law.residuals(), delta, n, len(law.names)) < OLD_MARGIN


def planted_change(setting: Setting) -> float:
    """The change of ln y that the regression finds without noise."""
    N, D, y = truth(setting)
    own = np.arange(len(N))
    return find_trend(cells_of([N, D], y, own, np.zeros_like(own), np.zeros(len(N))), AXES).total.value


def measure(setting: Setting, repeats: int, seed: int = 0) -> dict[str, float]:
    """Shares over `repeats` tables."""
    said: Counter[str] = Counter()
    change = planted_change(setting)
    for repeat in range(repeats):
        law = fit_law(draw(setting, np.random.default_rng((seed, repeat))), "chinchilla", AXES, bootstrap=0)
        trend = law.trends[""]
        low, high = trend.total.interval(LEVEL)
        said.update([trend.direction, f"form {law.status}"])
        said["usable"] += law.status in USABLE
        said["covered"] += low <= change <= high
        said["old: no scaling"] += old_rule(law)
    return {name: count / repeats for name, count in said.items()}


SETTINGS = [
    Setting(grid, seeds, fall, noise, scatter)
    for grid, seeds, noise, scatter in (((3, 3), 2, 0.03, 0.01), ((3, 4), 1, 0.03, 0.0), ((4, 5), 2, 0.05, 0.02),
                                        ((4, 5), 3, 0.02, 0.02))
    for fall in (0.0, 0.05, 0.2, 0.6)
] + [Setting((4, 5), 2, fall, 0.05, 0.02, kind) for kind in ("t3", "outliers") for fall in (0.0, 0.2, 0.6)]  # fmt: skip
COLUMNS = ("falls", "rises", "mixed", "flat", "undetermined", "usable", "form misfits", "form not identified",
           "form too few points", "covered", "old: no scaling")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    width = len(SETTINGS[0].text())
    print(" " * width, *(f"{name.removeprefix('form '):>12.12}" for name in COLUMNS))
    for setting in SETTINGS:
        found = measure(setting, repeats)
        print(setting.text(), *(f"{found.get(name, 0.0):>12.1%}" for name in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
