"""The chances that a plan states beside how often they come true, over diverse grids and laws.

    python tests/benchmarks/bench_power.py [--repeats 100]

Tables are drawn from the assumed law with its noise of runs and scatter of configurations, and fitted by `fit_law`.
One line a setting, then the correlations of chance and frequency, their largest difference, and the time of one call.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import ScalingTable, fit_law
from analysis.fit.status import USABLE
from analysis.power.assumed import AssumedLaw
from analysis.power.chances import chances
from analysis.power.grid import Grid

AXES = ("n_params", "samples_seen")


@dataclass(frozen=True)
class Setting:
    """A grid of sizes x data sizes over folds of N and D, and the law that is planted on it."""

    grid: Grid
    law: AssumedLaw
    said: str


def draw_setting(rng: np.random.Generator) -> Setting:
    """A grid and a law at random: 3-6 sizes, 3-7 data sizes, falls of 3-90 %, noise of 1-15 %."""
    shape, seeds = (int(rng.integers(3, 7)), int(rng.integers(3, 8))), int(rng.integers(1, 4))
    folds = (float(np.exp(rng.uniform(np.log(4), np.log(300)))), float(np.exp(rng.uniform(np.log(8), np.log(3000)))))
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e5, 1e5 * folds[0], shape[0]),
                                           np.geomspace(1e4, 1e4 * folds[1], shape[1])))  # fmt: skip
    start, share, fall = rng.uniform(0.5, 0.95), rng.uniform(0.1, 0.9), float(np.exp(rng.uniform(np.log(0.03), 0)))
    alpha, beta = rng.uniform(0.1, 0.8, 2)
    a, b = (start * fall * part for part in (share, 1 - share))
    a, b = a / (1 - folds[0] ** -alpha), b / (1 - folds[1] ** -beta)
    shrink = min(1.0, start / (a + b))
    noise, scatter = np.exp(rng.uniform(np.log(0.01), np.log(0.1), 2)) * (1.0, 0.7)
    law = AssumedLaw(start - shrink * (a + b), shrink * a, alpha, shrink * b, beta, 1e5, 1e4, noise, scatter, "planted")
    said = (
        f"{shape[0]} x {shape[1]} x {seeds}  N {folds[0]:>4.0f}x D {folds[1]:>5.0f}x  a {alpha:.2f} b {beta:.2f} "
        f"E/y {law.E / start:.2f} noise {noise:.3f} scatter {scatter:.3f}"
    )
    return Setting(Grid(N, D, D, 6 * N * D, seeds), law, said)


def draw_table(setting: Setting, rng: np.random.Generator) -> ScalingTable:
    """A table of runs."""
    grid, law = setting.grid, setting.law
    log_y = np.log(law.mean(grid.n_params, grid.samples_seen)) + rng.normal(0, law.scatter, len(grid))
    parts = [
        pd.DataFrame({
            "n_params": grid.n_params, "samples_seen": grid.samples_seen, "flops": grid.flops, "seed": seed,
            "score": 1 - np.exp(log_y + rng.normal(0, law.noise, len(grid))),
        })
        for seed in range(grid.seeds)
    ]  # fmt: skip
    return ScalingTable.from_frame(pd.concat(parts))


def observe(setting: Setting, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Shares of tables of which "falls" is said, and whose form is usable."""
    falls = usable = 0
    for repeat in range(repeats):
        law = fit_law(draw_table(setting, np.random.default_rng((seed, repeat))), "chinchilla", AXES, bootstrap=0)
        falls += law.trends[""].direction == "falls"
        usable += law.status in USABLE
    return falls / repeats, usable / repeats


def _agreement(p: np.ndarray, seen: np.ndarray) -> str:
    within = (p > 0.02) & (p < 0.98)
    return (
        f"correlation {np.corrcoef(p, seen)[0, 1]:.3f} of all, {np.corrcoef(p[within], seen[within])[0, 1]:.3f} of the "
        f"{within.sum()} between .02 and .98; mean difference {np.mean(seen - p):+.3f}, "
        f"largest {np.abs(seen - p).max():.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--settings", type=int, default=60)
    asked = parser.parse_args()
    rng = np.random.default_rng(12)
    settings = [draw_setting(rng) for _ in range(asked.settings)]
    began = time.process_time()
    stated = np.array([(c.falls, c.usable) for c in (chances(s.grid, s.law) for s in settings)])
    call_s = (time.process_time() - began) / len(settings)
    observed = np.empty_like(stated)
    print(f"{'':<92}{'falls':>8}{'seen':>6}{'usable':>9}{'seen':>6}")
    for i, setting in enumerate(settings):
        observed[i] = observe(setting, asked.repeats)
        print(f"{setting.said:<92}{stated[i, 0]:>8.2f}{observed[i, 0]:>6.2f}{stated[i, 1]:>9.2f}{observed[i, 1]:>6.2f}",
              flush=True)  # fmt: skip
    for name, p, seen in zip(("falls", "usable"), stated.T, observed.T, strict=True):
        print(f"{name}: {_agreement(p, seen)}")
    print(f"one call: {1000 * call_s:.0f} ms of processor time")


if __name__ == "__main__":
    main()
