"""Intervals of mappings at few stimuli, by simulation: do they centre, are they as wide as scores vary, do they cover?

Each world draws stimuli and units anew: features with eigenvalues 1 / k, responses partly linear in them, partly of
other causes, and noise. The truth is the mean of raw over the worlds; `width` is the draws' spread (root mean square)
over that of raw, `shift` what the mean of draws of stimuli and units at once, not centred, differs from raw by. The
error is raw's standard error: how many of raw ± error hold the truth, of 68 %, and of the spread over splits alone.

Run: python tests/benchmarks/bench_mapping_intervals.py [--worlds 300]
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.error_bars import bootstrap_scores, percentile_interval
from scaling.alignment.metrics.registry import METRICS, NeuroidMetric
from scaling.alignment.metrics.results import MappingEvaluation, standard_error

N_FEATURES, N_OTHER, N_DRAWS = 80, 12, 200


class Simulated(NamedTuple):
    """Of many worlds: coverage of 95 % intervals; width and shift, see above; coverage of ± error, and over splits."""

    coverage: float
    width: float
    shift: float
    by_error: float
    by_splits: float


def evaluate_world(metric: str, n_stimuli: int, n_units: int, rng: np.random.Generator) -> MappingEvaluation:
    """One recording of a world, and a mapping to it."""
    x = rng.standard_normal((n_stimuli, N_FEATURES)) / np.sqrt(np.arange(1, N_FEATURES + 1))
    other = rng.standard_normal((n_stimuli, N_OTHER)) @ rng.standard_normal((N_OTHER, n_units))
    signal = 0.6 * x @ rng.standard_normal((N_FEATURES, n_units)) + 0.3 * other
    y = signal + rng.standard_normal(signal.shape)
    mapping = METRICS[metric]
    assert isinstance(mapping, NeuroidMetric)
    (found,) = mapping.evaluate(Representation.of(x), [y[None]], None)
    assert isinstance(found, MappingEvaluation)
    return found


def simulate(metric: str, n_stimuli: int, n_units: int, n_worlds: int, seed: int = 0) -> Simulated:
    """Intervals of `n_worlds` recordings against the mean of their scores."""
    rng = np.random.default_rng(seed)
    worlds = [evaluate_world(metric, n_stimuli, n_units, rng) for _ in range(n_worlds)]
    raws = np.array([world.raw for world in worlds])
    truth, shifts, spreads, held = raws.mean(), [], [], []
    for i, world in enumerate(worlds):
        draws = world.draws(N_DRAWS, i)
        both = bootstrap_scores(world.predictions, world.responses, world.splits, "both", N_DRAWS, i)
        shifts.append(both.mean() - world.raw)
        spreads.append(draws.std())
        low, high = percentile_interval(draws)
        errors = standard_error(world, draws), world.error
        held.append([low < truth < high, *(abs(world.raw - truth) < error for error in errors)])
    width = np.sqrt(np.mean(np.square(spreads))) / raws.std(ddof=1)
    coverage, by_error, by_splits = np.mean(held, axis=0)
    return Simulated(coverage, width, float(np.mean(shifts)), by_error, by_splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=300)
    n_worlds = parser.parse_args().worlds
    print("metric  stimuli  units  coverage of 95 %  width  shift before  ± error  ± of splits, of 68 %")
    for metric in ("ridge", "pls"):
        for n_stimuli in (67, 150, 500):
            for n_units in (15, 60):
                s = simulate(metric, n_stimuli, n_units, n_worlds)
                print(
                    f"{metric:6s}  {n_stimuli:7d}  {n_units:5d}  {s.coverage:16.3f}  {s.width:5.2f}  {s.shift:+12.3f}  "
                    f"{s.by_error:7.3f}  {s.by_splits:.3f}"
                )


if __name__ == "__main__":
    main()
