"""Accuracy against alignment: does a more accurate model predict the brain better, and up to where?

Linsley et al. 2023 found alignment with IT to turn down among the most accurate models. Per region: rank correlation
with accuracy, below and above a threshold; the Pareto front; a line with one break, and its interval; the same
within a family; arrows from a baseline to its treated twin. Seeds of one configuration are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.allocation import Estimate, estimate
from analysis.forms import Array
from analysis.resample import bootstrap_weights
from analysis.table import ScalingTable

BREAK_GRID = 80
LEAST_EACH_SIDE = 8
BREAK_FLOOR = 0.2  # assumption: accuracy above which a turn is looked for


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of accuracy and score over n models, with its bootstrap interval."""

    n: int
    rho: Estimate


@dataclass(frozen=True)
class Break:
    """A continuous line of two slopes: where it breaks, the slopes per unit of accuracy, the score at the break.

    gain: share of one line's squared error that the break removes; start: accuracy from which models counted.
    """

    at: Estimate
    slope_below: Estimate
    slope_above: Estimate
    level: float
    gain: float
    start: float = BREAK_FLOOR

    @property
    def turns(self) -> bool:
        """Whether alignment falls with accuracy beyond the break, the whole interval below zero."""
        return self.slope_above.high is not None and self.slope_above.high < 0


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
    front_share: Array
    families: dict[str, Correlation]
    table: ScalingTable

    def text(self) -> str:
        sides = [f"{name} {c.rho.text('.2f')} (n = {c.n})" if c else f"{name} too few"
                 for name, c in (("all", self.everything), (f"≤ {self.threshold:g}", self.below),
                                 (f"> {self.threshold:g}", self.above))]  # fmt: skip
        turn = f"; break at {self.segments.at.text('.2f')}" if self.segments else ""
        return f"{self.region:<9} {', '.join(sides)}{turn}"


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation; nan where one side does not vary."""
    return float(_resampled_spearman(x, y, np.ones((1, len(x))))[0])


def _resampled_spearman(x: Array, y: Array, weights: Array) -> Array:
    """Spearman of each resample (B,), with mean ranks for ties, from weights (B, n) without copying points."""
    rank_x, rank_y = _weighted_ranks(x, weights), _weighted_ranks(y, weights)
    total = weights.sum(axis=1, keepdims=True)
    dx, dy = (r - (weights * r).sum(axis=1, keepdims=True) / total for r in (rank_x, rank_y))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt((weights * dx**2).sum(axis=1) * (weights * dy**2).sum(axis=1))
        return (weights * dx * dy).sum(axis=1) / scale


def _weighted_ranks(x: Array, weights: Array) -> Array:
    """Mean rank (B, n) of each value in a sample that holds it weights[b, i] times."""
    values, group = np.unique(x, return_inverse=True)
    held = np.zeros((len(weights), len(values)))
    np.add.at(held.T, group, weights.T)
    return (np.cumsum(held, axis=1) - held / 2 + 0.5)[:, group]


def correlate(table: ScalingTable, bootstrap: int = 1000, seed: int = 0, cluster: bool = True) -> Correlation | None:
    """Spearman(accuracy, score) with a 95 % interval; None below four models. Clusters: configurations, or rows."""
    x, y = table.values("accuracy"), table.values("score")
    if len(x) < 4:
        return None
    clusters = _clusters(table, cluster)
    weights = (
        bootstrap_weights(clusters, np.zeros_like(clusters), bootstrap, seed) if bootstrap else np.empty((0, len(x)))
    )
    draws = _resampled_spearman(x, y, weights)
    return Correlation(len(x), estimate(spearman(x, y), draws[np.isfinite(draws)], 0.95))


def _clusters(table: ScalingTable, cluster: bool) -> npt.NDArray[np.int64]:
    return table.clusters() if cluster else np.arange(len(table))


def fit_break(table: ScalingTable, bootstrap: int = 1000, seed: int = 0, cluster: bool = True) -> Break | None:
    """Least squares of score = a + b x + c max(x - t, 0) over a grid of t (Muggeo 2003), intervals by bootstrap.

    Only models above BREAK_FLOOR count: below it alignment rises steeply from chance, and that knee would be the
    break found. Slopes are per unit of accuracy. None with fewer than LEAST_EACH_SIDE models on either side of every t.
    """
    table = table.where(table.values("accuracy") > BREAK_FLOOR)
    x, y = table.values("accuracy"), table.values("score")
    if len(x) < 2 * LEAST_EACH_SIDE + 2:
        return None
    ordered = np.sort(x)
    grid = np.unique(np.linspace(ordered[LEAST_EACH_SIDE], ordered[-LEAST_EACH_SIDE - 1], BREAK_GRID))
    clusters = _clusters(table, cluster)
    weights = bootstrap_weights(clusters, np.zeros_like(clusters), bootstrap, seed)
    at, below, above, level, gain = _segments(x, y, np.concatenate([np.ones((1, len(x))), weights]), grid)
    position, first, second = (estimate(float(v[0]), v[1:], 0.95) for v in (at, below, above))
    return Break(position, first, second, level=float(level[0]), gain=float(gain[0]), start=float(x.min()))


def _segments(x: Array, y: Array, weights: Array, grid: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Best break, slopes, level at the break and gain of each weighting (B,): normal equations at grid points."""
    best = np.full(len(weights), np.inf)
    at, below, above, level = (np.full(len(weights), np.nan) for _ in range(4))
    line = _explained(np.column_stack([np.ones_like(x), x]), y, weights)[1]
    for t in grid:
        coefficients, left = _explained(np.column_stack([np.ones_like(x), x, np.maximum(x - t, 0)]), y, weights)
        better = left < best
        best = np.where(better, left, best)
        at = np.where(better, t, at)
        below = np.where(better, coefficients[:, 1], below)
        above = np.where(better, coefficients[:, 1] + coefficients[:, 2], above)
        level = np.where(better, coefficients[:, 0] + coefficients[:, 1] * t, level)
    return at, below, above, level, 1 - best / np.maximum(line, 1e-300)


def _explained(X: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Coefficients (B, k) and weighted sum of squares left (B,) of least squares."""
    k = X.shape[1]
    H = (weights @ (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)).reshape(-1, k, k)
    H = H + 1e-12 * np.eye(k) * np.trace(H, axis1=1, axis2=2)[:, None, None]
    g = weights @ (X * y[:, None])
    coefficients = np.linalg.solve(H, g[..., None])[..., 0]
    return coefficients, weights @ y**2 - np.einsum("bk,bk->b", coefficients, g)


def pareto_front(x: Array, y: Array) -> npt.NDArray[np.int64]:
    """Indices of the points that no other beats in both (larger is better), by rising x."""
    order = np.lexsort((-y, -x))
    best, front = -np.inf, []
    for i in order:
        if y[i] > best:
            best = y[i]
            front.append(int(i))
    return np.array(front[::-1], dtype=np.int64)


def front_shares(x: Array, y: Array, weights: Array) -> Array:
    """Share of the resamples that hold a point in which it lies on the front (n,)."""
    on, drawn = np.zeros(len(x)), (weights > 0).sum(axis=0)
    for w in weights:
        rows = np.flatnonzero(w)
        on[rows[pareto_front(x[rows], y[rows])]] += 1
    return on / np.maximum(drawn, 1)


def analyze_tradeoff(
    table: ScalingTable, region: str, threshold: float = 0.7, bootstrap: int = 1000, seed: int = 0, cluster: bool = True
) -> Tradeoff:
    """Everything about accuracy and alignment in one region; rows without accuracy or score are left out, counted."""
    rows = table.select(region=region).require("accuracy", "score")
    x, y = rows.values("accuracy"), rows.values("score")
    high = x > threshold
    everything = correlate(rows, bootstrap, seed, cluster)
    if everything is None:
        raise ValueError(f"{len(rows)} models have accuracy and score in region {region!r}; 4 are needed at least")
    clusters = _clusters(rows, cluster)
    weights = bootstrap_weights(clusters, np.zeros_like(clusters), min(bootstrap, 200), seed)
    parts = rows.group("family") if "family" in rows.columns else ()
    families = {str(name): c for name, part in parts if (c := correlate(part, bootstrap, seed, cluster))}
    return Tradeoff(
        region, threshold, everything, correlate(rows.where(~high), bootstrap, seed, cluster),
        correlate(rows.where(high), bootstrap, seed, cluster), fit_break(rows, bootstrap, seed, cluster),
        tuple(int(i) for i in pareto_front(x, y)), front_shares(x, y, weights), families, rows,
    )  # fmt: skip


@dataclass(frozen=True)
class Arrow:
    """A baseline and its treated twin: (accuracy, score) of each, and what they share.

    n: pairs that both ends are means of; intervals: 95 % of each end's accuracy and score, where n is 2 or more.
    """

    name: str
    baseline: tuple[float, float]
    treated: tuple[float, float]
    n: int = 1
    baseline_interval: tuple[Estimate, Estimate] | None = None
    treated_interval: tuple[Estimate, Estimate] | None = None


MATCH = ("family", "arch", "size", "depth", "dataset", "images_per_class", "seed")


def treatment_arrows(
    table: ScalingTable, treated_where: dict[str, object], baseline_where: dict[str, object],
    match: Sequence[str] = MATCH, over: str | None = None,
) -> tuple[Arrow, ...]:  # fmt: skip
    """Arrows from each baseline to the treated run that agrees with it in the columns of `match` that there are.

    over: a column of `match`, such as "seed": pairs that differ in it alone become one arrow between their means, with
    95 % t-intervals of both ends.
    """
    keys = [name for name in match if name in table.columns]
    base = table.select(**baseline_where).require("accuracy", "score").frame
    treated = table.select(**treated_where).require("accuracy", "score").frame
    if not keys:
        raise ValueError(f"none of {list(match)} is a column of the table; give match=[...]")
    if over is not None and (over not in keys or keys == [over]):
        raise ValueError(f"over={over!r} is not one of several columns that pairs agree in: {keys}; give match=[...]")
    first, second = (f.groupby(keys, dropna=False)[["accuracy", "score"]].mean().reset_index() for f in (base, treated))
    both = first.merge(second, on=keys, suffixes=("_base", "_treated"))
    if over is None:
        return tuple(_arrow(both.iloc[[i]], keys) for i in range(len(both)))
    rest = [name for name in keys if name != over]
    named = [name for name in rest if both[name].nunique(dropna=False) > 1] or rest[:1]
    both = both.assign(**{name: name.replace("_", " ") + " " + both[name].astype(str) for name in named
                          if pd.api.types.is_numeric_dtype(both[name])})  # fmt: skip
    return tuple(_arrow(pairs, named) for _, pairs in both.groupby(rest, dropna=False))


def _arrow(pairs: pd.DataFrame, named: Sequence[str]) -> Arrow:
    """One arrow between the means of pairs, called by what `named` columns hold."""
    (a, b), (c, d) = (
        [t_interval(pairs[f"{quantity}_{end}"].to_numpy(dtype=np.float64)) for quantity in ("accuracy", "score")]
        for end in ("base", "treated")
    )
    name, several = " ".join(str(pairs[column].iloc[0]) for column in named), len(pairs) > 1
    return Arrow(name, (a.value, b.value), (c.value, d.value), len(pairs),
                 (a, b) if several else None, (c, d) if several else None)  # fmt: skip


def t_interval(values: Array) -> Estimate:
    """Mean of n values and its 95 % interval, mean ± t(.975, n - 1) · s / √n; none for a single value."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Estimate(value=mean)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Estimate(value=mean, low=mean - half, high=mean + half)
