"""What one more size, data size or seed would change, and the cheapest that is enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.power.assumed import AssumedLaw
from analysis.power.chances import Chances, chances
from analysis.power.grid import Grid

WANTED = 0.8  # the customary power of a study (Cohen 1988, ch. 2.4)
STEP = 2.0  # between sizes, where a grid has one only
WORST = 1.0  # no error or misalignment is assumed beyond it: a law that runs past it has left its range


@dataclass(frozen=True)
class Addition:
    """words: what is added; flops: what it costs; chances: what the grid has with it."""

    words: str
    flops: float
    chances: Chances


def additions(grid: Grid, law: AssumedLaw, most_samples: float) -> Iterator[Addition]:
    """Every single addition, the cheapest first. most_samples: unique images that there are."""
    found = [("one more seed", grid.with_seeds())]
    found += [(f"one more size, of about {_round(n):,} parameters", grid.with_size(n)) for n in _more(grid.n_params)]
    found += [
        (f"one more data size, of about {_round(n):,} images", grid.with_data_size(n))
        for n in _more(grid.n_samples, most_samples)
    ]
    for words, wider in sorted(found, key=lambda item: item[1].cost):
        if law.mean(wider.n_params, wider.samples_seen).max() <= max(WORST, _worst(grid, law)):
            yield Addition(words, wider.cost - grid.cost, chances(wider, law))


def best_addition(grid: Grid, law: AssumedLaw, most_samples: float) -> Addition | None:
    """The cheapest addition that lifts both chances to WANTED; else the one that lifts the smaller of them most."""
    best = None
    for addition in additions(grid, law, most_samples):
        if addition.chances.least >= WANTED:
            return addition
        if best is None or addition.chances.least > best.chances.least:
            best = addition
    return best


def _worst(grid: Grid, law: AssumedLaw) -> float:
    return float(law.mean(grid.n_params, grid.samples_seen).max())


def _more(x: Array, most: float = np.inf) -> list[float]:
    """One step below the smallest, in the middle of the widest gap, and one step above the largest, up to `most`."""
    distinct = np.unique(x)
    ratio = distinct[1:] / distinct[:-1]
    step = float(np.exp(np.mean(np.log(ratio)))) if len(ratio) else STEP
    found = [distinct[0] / step]
    if len(ratio):
        widest = int(np.argmax(ratio))
        found.append(np.sqrt(distinct[widest] * distinct[widest + 1]))
    above = min(distinct[-1] * step, most)
    return [float(v) for v in (*found, *([above] if above > distinct[-1] * 1.1 else []))]


def _round(value: float) -> int:
    """Two digits."""
    return int(float(f"{value:.2g}"))
