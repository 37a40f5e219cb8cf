"""Two other ways to the compute-optimal split, beside the law: isoFLOP profiles and the compute envelope.

Hoffmann et al. 2022, Approaches 2 and 1. Neither assumes the law's form; both need runs that cover the plane of
model size and data, and say so where the runs do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analysis.columns import MISALIGNMENT, Array, measured, measured_name
from analysis.table import ScalingTable

BANDS = 8  # assumption: bands of compute, evenly in ln C
LEAST_PER_BAND = 5
NEAR = 10.0  # assumption: ln L is a parabola in ln N within this factor of the best run's size


@dataclass(frozen=True)
class Profile:
    """One band of compute: its centre, and the N and D of its minimum, None where there is none."""

    flops: float
    n_params: float | None
    samples_seen: float | None
    reason: str = ""


@dataclass(frozen=True)
class Frontier:
    """Optima by band, and the exponents of N ∝ C^a, D ∝ C^b through them (None with fewer than three)."""

    method: str
    profiles: tuple[Profile, ...]
    exponent_n: float | None
    exponent_d: float | None

    def text(self) -> str:
        used = sum(p.n_params is not None for p in self.profiles)
        if self.exponent_n is None or self.exponent_d is None:
            return f"{self.method}: {used} of {len(self.profiles)} bands have a minimum inside; no exponents"
        return f"{self.method}: N ∝ C^{self.exponent_n:.2f}, D ∝ C^{self.exponent_d:.2f} over {used} bands"


def isoflop_profiles(rows: ScalingTable, target: str = MISALIGNMENT) -> Frontier:
    """In each band of compute a parabola of ln L in ln N around the best run; its minimum, if inside the sizes.

    L: misalignment 1 - score, or the column named by `target`, as "loss".
    """
    return _frontier(rows, target, "isoFLOP profiles", _parabola)


def compute_envelope(rows: ScalingTable, target: str = MISALIGNMENT) -> Frontier:
    """In each band of compute the run of least misalignment (or `target`), if no cheaper run did as well."""
    return _frontier(rows, target, "compute envelope", _best_run)


Find = Callable[[Array, Array, Array, float], tuple[float | None, str]]


def _frontier(rows: ScalingTable, target: str, method: str, find: Find) -> Frontier:
    names = ("flops", "n_params", "samples_seen", measured_name(target))
    rows = rows.require(*names).positive(target)
    C, N, D, S = (rows.values(n) for n in names)
    L = measured(target, S)
    edges = np.geomspace(C.min(), C.max() * (1 + 1e-9), BANDS + 1)
    profiles, reached = [], np.inf
    for low, high in pairwise(edges):
        inside = (low <= C) & (high > C)
        centre = float(np.exp(np.log(C[inside]).mean())) if inside.any() else float(np.sqrt(low * high))
        if inside.sum() < LEAST_PER_BAND:
            profiles.append(Profile(centre, None, None, f"fewer than {LEAST_PER_BAND} runs"))
            continue
        n, reason = find(N[inside], C[inside], L[inside], reached)
        reached = min(reached, float(L[inside].min()))
        d = None if n is None else float(np.median((N * D)[inside] / C[inside]) * centre / n)
        profiles.append(Profile(centre, n, d, reason))
    return Frontier(method, tuple(profiles), *_exponents(profiles))


def _parabola(N: Array, C: Array, L: Array, reached: float) -> tuple[float | None, str]:
    x, y = np.log(N), np.log(np.clip(L, 1e-12, None))
    near = np.abs(x - x[np.argmin(y)]) < np.log(NEAR)
    x, y, compute = x[near], y[near], np.log(C[near] / C[near].mean())
    if len(np.unique(x)) < 4:
        return None, f"fewer than four sizes within {NEAR:g}x of the best"
    columns = np.column_stack([x**2, x, np.ones_like(x), compute])  # compute varies a little within a band
    curvature, slope = np.linalg.lstsq(columns, y, rcond=None)[0][:2]
    lowest = -slope / (2 * curvature) if curvature > 0 else np.nan
    if not x.min() < lowest < x.max():
        return None, "no minimum inside the sizes tested"
    return float(np.exp(lowest)), ""


def _best_run(N: Array, C: Array, L: Array, reached: float) -> tuple[float | None, str]:
    best = int(np.argmin(L))
    return (float(N[best]), "") if L[best] < reached else (None, "a cheaper run did as well")


def _exponents(profiles: list[Profile]) -> tuple[float | None, float | None]:
    known = [(p.flops, p.n_params, p.samples_seen) for p in profiles if p.n_params and p.samples_seen]
    if len(known) < 3:
        return None, None
    C, N, D = np.log(np.array(known, dtype=np.float64)).T
    return float(np.polyfit(C, N, 1)[0]), float(np.polyfit(C, D, 1)[0])
