"""Which models differ: paired bootstrap differences on the same stimuli, units and subjects, p values corrected."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.columns import Array
from analysis.table import ScalingTable

LEVEL = 0.05
NAMES = ("label", "model")  # of a model, the first column that a table has
LEAST_DRAWS = 20


@dataclass(frozen=True)
class Comparison:
    """Models on one benchmark, pair by pair, best first.

    names: (m,); raw: (m,) each model's raw; difference: (m, m) raw of the row's minus that of the column's; error:
    (m, m) standard deviation of the difference over the paired draws; p: (m, m) two-sided, corrected by Holm over all
    pairs, 1 on the diagonal. n_draws: bootstrap draws. over: what they are of. left_out: models without draws.
    """

    benchmark: str
    names: tuple[str, ...]
    raw: Array
    difference: Array
    error: Array
    p: Array
    n_draws: int
    over: str
    left_out: tuple[str, ...] = ()
    simulated: bool = False

    def text(self) -> str:
        """How many pairs differ, and which models do not differ from the best."""
        upper = self.p[np.triu_indices(len(self.names), 1)]
        ties = [name for name, p in zip(self.names[1:], self.p[0, 1:], strict=True) if p >= LEVEL]
        beside = (
            f"beside {self.names[0]}, not told from it: {', '.join(ties)}" if ties else f"{self.names[0]} is the best"
        )
        return (
            f"{self.benchmark}: {int((upper < LEVEL).sum())} of {len(upper)} pairs differ (p < {LEVEL:g}, Holm; "
            f"{self.n_draws} paired draws over {self.over}); {beside}"
        )

    def frame(self) -> pd.DataFrame:
        """One row a pair, the better model first."""
        i, j = np.triu_indices(len(self.names), 1)
        names = np.array(self.names)
        told = {"difference": self.difference[i, j], "error": self.error[i, j], "p": self.p[i, j]}
        return pd.DataFrame({"benchmark": self.benchmark, "better": names[i], "worse": names[j], **told})


def compare_models(table: ScalingTable, benchmark: str) -> Comparison:
    """Every pair of models on one benchmark, by the bootstrap draws that their scores were kept with.

    Draw k of every model is of the same stimuli, units and subjects, so that what they share cancels in the difference:
    `z = (raw_a - raw_b) / sd_k(draw_ka - draw_kb)`, p two-sided from the normal distribution, then Holm (1979): p_(i)
    times (m - i + 1), i-th smallest of m, made monotone. Where nothing differs in any draw, p is 1.

    Raises ValueError: no column of draws, models whose draws differ in number, fewer than 2 models.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 16; the normal approximation, since the p
    of percentiles cannot fall below 2 / (draws + 1), which no correction over many pairs survives.
    """
    rows = table.select(benchmark=benchmark)
    if "draws" not in rows.columns:
        raise ValueError("the table has no column 'draws'; score again with scoring.resamples of 20 or more")
    name = next((column for column in NAMES if column in rows.columns), None)
    if name is None:
        raise ValueError(f"no column names the models; give one of {', '.join(NAMES)}")
    has = rows.column("draws").notna().to_numpy()
    left_out, kept = rows.frame[name][~has].astype(str), rows.where(has)
    draws = _draws(kept)
    if len(draws) < 2:
        raise ValueError(f"{len(draws)} models of benchmark {benchmark!r} have draws; 2 are needed at least")
    raw = kept.values("raw")
    order = np.argsort(-raw, kind="stable")
    raw, draws, names = raw[order], draws[order], kept.frame[name].astype(str).to_numpy()[order]
    difference, error = raw[:, None] - raw, paired_errors(draws)
    over = str(kept.frame["interval_of"].iloc[0]) if "interval_of" in kept.columns else "stimuli and units"
    return Comparison(benchmark, tuple(names), raw, difference, error, corrected(pair_p(difference, error)),
                      draws.shape[1], over, tuple(left_out), kept.names_simulated())  # fmt: skip


def _draws(rows: ScalingTable) -> Array:
    """(m, n_draws)."""
    found = [value if isinstance(value, list) else json.loads(value) for value in rows.column("draws")]
    counts = sorted({len(one) for one in found})
    if len(counts) > 1 or (counts and counts[0] < LEAST_DRAWS):
        raise ValueError(f"draws of {counts} numbers a model; {LEAST_DRAWS} or more are needed, as many for each model")
    return np.array(found, dtype=np.float64).reshape(len(found), -1)


def paired_errors(draws: Array) -> Array:
    """(m, m) standard deviation (ddof 1) of the difference of any two rows of (m, n_draws)."""
    covariance = np.cov(draws).reshape(len(draws), len(draws))
    variance = np.diag(covariance)
    return np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 0.0))


def pair_p(difference: Array, error: Array) -> Array:
    """Two-sided p of difference / error; 0 / 0 has nothing to tell, p = 1."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0, 0.0, np.abs(difference) / error)
    return np.asarray(2 * ndtr(-z))


def corrected(p: Array) -> Array:
    """Holm's step-down correction over the pairs of a symmetric (m, m) matrix; the diagonal is 1."""
    upper = np.triu_indices(len(p), 1)
    found = np.ones_like(p)
    found[upper] = holm(p[upper])
    found.T[upper] = found[upper]
    return found


def holm(p: Array) -> Array:
    """p values (n,) corrected for their number: any false rejection has at most the chance of the level."""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    found = np.empty(len(p))
    found[order] = np.minimum(raised, 1.0)
    return found
