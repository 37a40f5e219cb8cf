"""Arrows from a baseline to its treated twin in the plane of accuracy and score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.fit.estimate import Estimate
from analysis.table import ScalingTable
from analysis.tradeoff.pairs import QUANTITIES, Pairs, pair_rows, t_interval

MATCH = ("family", "arch", "size", "depth", "dataset", "images_per_class", "seed")


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


def treatment_arrows(
    table: ScalingTable, treated_where: Mapping[str, object], baseline_where: Mapping[str, object],
    match: Sequence[str] = MATCH, over: str | None = None,
) -> tuple[Arrow, ...]:  # fmt: skip
    """Arrows from each baseline to the treated run that agrees with it in the columns of `match` that there are.

    over: a column of `match`, such as "seed": pairs that differ in it alone become one arrow between their means, with
    95 % t-intervals of both ends. What has no twin has no arrow: see `pair_rows`.
    """
    found = pair_rows(table, treated_where, baseline_where, match, over)
    return tuple(_arrow(pairs) for pairs in found if len(pairs.frame))


def _arrow(pairs: Pairs) -> Arrow:
    """One arrow between the means of pairs."""
    (a, b), (c, d) = ([t_interval(pairs.values(q, end)) for q in QUANTITIES] for end in ("base", "treated"))
    several = len(pairs.frame) > 1
    return Arrow(pairs.name, (a.value, b.value), (c.value, d.value), len(pairs.frame),
                 (a, b) if several else None, (c, d) if several else None)  # fmt: skip
