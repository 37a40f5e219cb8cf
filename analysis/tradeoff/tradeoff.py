"""Accuracy against alignment: does a more accurate model predict the brain better, and up to where?

Linsley et al. 2023 found alignment with IT to turn down among the most accurate models. Per region: rank correlation
with accuracy, below and above a threshold; the Pareto front; a line with one break, and its interval; the same
within a family. Seeds of one configuration are resampled together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.table import ScalingTable
from analysis.tradeoff.breaks import Break, fit_break
from analysis.tradeoff.correlation import Correlation, cluster_codes, correlation_of


@dataclass(frozen=True)
class Tradeoff:
    """One region: correlations over all models, up to the threshold and above it; the break; the Pareto front."""

    region: str
    threshold: float
    everything: Correlation
    below: Correlation | None
    above: Correlation | None
    segments: Break | None
    front: tuple[int, ...]
    families: dict[str, Correlation]
    table: ScalingTable

    def text(self) -> str:
        sides = [f"{name} {c.rho.text('.2f')} (n = {c.n})" if c else f"{name} too few"
                 for name, c in (("all", self.everything), (f"≤ {self.threshold:g}", self.below),
                                 (f"> {self.threshold:g}", self.above))]  # fmt: skip
        turn = f"; break at {self.segments.at.text('.2f')}" if self.segments else ""
        return f"{self.region:<9} {', '.join(sides)}{turn}"


def pareto_front(x: Array, y: Array) -> npt.NDArray[np.int64]:
    """Indices of the points that no other beats in both (larger is better), by rising x."""
    order = np.lexsort((-y, -x))
    best, front = -np.inf, []
    for i in order:
        if y[i] > best:
            best = y[i]
            front.append(int(i))
    return np.array(front[::-1], dtype=np.int64)


def analyze_tradeoff(
    table: ScalingTable, region: str, threshold: float = 0.7, bootstrap: int = 1000, seed: int = 0, cluster: bool = True
) -> Tradeoff:
    """Everything about accuracy and alignment in one region; rows without accuracy or score are left out, counted.

    A model counts once, however many benchmarks the region has: its score is their mean (models that lack one drop
    out, counted), and n is the number of models.
    """
    rows = table.select(region=region).require("accuracy", "score")
    if "benchmark" in rows.columns and len(rows.unique("benchmark")) > 1:
        rows = rows.mean_over("region")
    x, y = rows.values("accuracy"), rows.values("score")
    high, codes = x > threshold, cluster_codes(rows, cluster)  # a part's clusters are those of the whole

    def correlated(part: npt.NDArray[np.bool_]) -> Correlation | None:
        return correlation_of(x[part], y[part], codes[part], bootstrap, seed)

    everything = correlated(np.ones(len(x), dtype=bool))
    if everything is None:
        raise ValueError(f"{len(rows)} models have accuracy and score in region {region!r}; 4 are needed at least")
    own = rows.column("family").to_numpy() if "family" in rows.columns else np.empty(0)
    known = sorted(rows.unique("family")) if len(own) else []
    families = {str(name): c for name in known if (c := correlated(own == name))}
    return Tradeoff(
        region, threshold, everything, correlated(~high), correlated(high), fit_break(rows, bootstrap, seed, cluster),
        tuple(int(i) for i in pareto_front(x, y)), families, rows,
    )  # fmt: skip
