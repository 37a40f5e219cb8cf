"""Do predictions of single runs hold what they claim? Planted laws, runs beyond the grid, coverage of both intervals.

    python tests/benchmarks/bench_verify.py [REPEATS]

On a grid of N x D x seeds, ln L scatters by configuration and by run around L = E + A N^-alpha + B D^-beta. A law is
fitted as a study's is; the models of a verification (N_opt and a third and three times it, at equal compute 1, 3 and 10
times the grid's largest) are predicted, and one new run of each is drawn. "law": how often its interval holds the true
L; "one run": how often the interval of a run holds the new run. 95 % is claimed of either.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import Recipe, ScalingTable, fit_law
from analysis.verify.predict import predict_run

PER_IMAGE = 6.0  # C = 6 N D
BEYOND = (1.0, 3.0, 10.0)
SIZES = np.geomspace(2e4, 2e6, 4)
SAMPLES = np.geomspace(5e3, 5e5, 4)


@dataclass(frozen=True)
class Truth:
    """A planted law; of: its size at the grid's cheapest corner is offset + size + data."""

    alpha: float
    beta: float
    offset: float
    configuration: float
    run: float
    seeds: int

    def misalignment(self, n: float, d: float) -> float:
        size, data = 0.35 * (n / SIZES[0]) ** -self.alpha, 0.35 * (d / SAMPLES[0]) ** -self.beta
        return self.offset + size + data

    def rows(self, rng: np.random.Generator) -> ScalingTable:
        found = []
        for n in SIZES:
            for d in SAMPLES:
                shared = self.configuration * rng.standard_normal()
                for seed in range(self.seeds):
                    y = self.misalignment(n, d) * np.exp(shared + self.run * rng.standard_normal())
                    at = {"n_params": n, "samples_seen": d, "flops": PER_IMAGE * n * d, "n_samples": SAMPLES[-1]}
                    found.append({"family": "f", "seed": seed, "run_id": f"{n}-{d}-{seed}", "score": 1 - y, **at,
                                  "flops_per_image": PER_IMAGE / 3 * n, "region": "IT", "benchmark": "b",
                                  "images_per_class": d})  # fmt: skip
        return ScalingTable.from_frame(pd.DataFrame(found))

    def new_run(self, n: float, d: float, rng: np.random.Generator) -> float:
        return self.misalignment(n, d) * np.exp(np.hypot(self.configuration, self.run) * rng.standard_normal())


TRUTHS = {
    "steep, quiet": Truth(0.4, 0.35, 0.1, 0.0, 0.01, 2),
    "steep, scatter": Truth(0.4, 0.35, 0.1, 0.02, 0.02, 2),
    "steep, one seed": Truth(0.4, 0.35, 0.1, 0.0, 0.03, 1),
    "shallow": Truth(0.25, 0.2, 0.0, 0.01, 0.01, 2),
    "high offset": Truth(0.5, 0.5, 0.4, 0.005, 0.01, 3),
}


def outcomes(truth: Truth, seed: int) -> Iterator[tuple[str, float, bool, bool, float]]:
    """(status, times beyond, law holds, one run holds, width of the run's interval) of every model predicted."""
    rng = np.random.default_rng(seed)
    law = fit_law(truth.rows(rng), "chinchilla", ("n_params", "samples_seen"), bootstrap=300)
    if not law.usable:
        return
    recipe = Recipe.from_laws({"IT": law})
    top = PER_IMAGE * SIZES[-1] * SAMPLES[-1]
    for beyond in BEYOND:
        found = recipe.allocate(beyond * top, "IT")
        if found.n_params is None:
            continue
        for factor in (1 / 3, 1.0, 3.0):
            n = factor * found.n_params.value
            d = beyond * top / (PER_IMAGE * n)
            axes = {"n_params": n, "samples_seen": d, "flops": beyond * top, "n_samples": SAMPLES[-1]}
            said = predict_run(recipe, {"IT": law}, "f", axes)["IT"]
            true, new = 1 - truth.misalignment(n, d), 1 - truth.new_run(n, d, rng)
            width = said.run.high - said.run.low
            yield law.status, beyond, said.law.low <= true <= said.law.high, said.run.low <= new <= said.run.high, width


def main(repeats: int) -> None:
    print(f"{'planted law':<18}{'beyond':>7}  {'status':<18}{'n':>6}{'law':>7}{'one run':>9}{'width':>8}")
    for name, truth in TRUTHS.items():
        cells: dict[tuple[float, str], list[tuple[bool, bool, float]]] = defaultdict(list)
        for seed in range(repeats):
            for status, beyond, in_law, in_run, width in outcomes(truth, seed):
                cells[beyond, status].append((in_law, in_run, width))
        for (beyond, status), found in sorted(cells.items()):
            law, run, width = np.array(found, dtype=float).T
            print(f"{name:<18}{beyond:>6g}x  {status:<18}{len(found):>6}{law.mean():>7.1%}{run.mean():>9.1%}"
                  f"{np.median(width):>8.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
