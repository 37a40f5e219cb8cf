"""Twins of a study: which objectives treat what others leave alone, and what the treatment changes.

A twin is trained as its baseline is, seed included, but for the objective. What the objective changes is the mean of
the paired differences over seeds, with its t-interval (as `scipy.stats.ttest_rel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.fit.estimate import Estimate, PlainModel
from analysis.table import ScalingTable
from analysis.tradeoff.arrows import Arrow, treatment_arrows
from analysis.tradeoff.pairs import QUANTITIES, Pairs, pair_rows, t_interval

PLAIN_FAMILY = "arch"  # the column of the family's own name, where `family` also names the objective
PAIRED = ("study", "dataset", "image_size", PLAIN_FAMILY, "size", "depth", "width", "variant", "n_params",
          "images_per_class", "n_samples", "epochs", "seed")  # fmt: skip
TREATMENT, PLAIN = "harmonizer", "supervised"  # names of the objective that treats, and of a baseline that does not


@dataclass(frozen=True)
class Twins:
    """Labels of objectives: the baseline, and those that treat what it leaves alone."""

    baseline: str
    treated: tuple[str, ...]


class TwinDifference(PlainModel):
    """Treated minus baseline in one region and configuration, over n pairs: mean differences, 95 % t-intervals.

    baseline_score, …: means of either end; n_unpaired: runs of either end that have no twin and count nowhere. None
    where there is no pair.
    """

    region: str
    name: str
    baseline: str
    treated: str
    n: int
    n_unpaired: int
    score: Estimate | None = None
    accuracy: Estimate | None = None
    baseline_score: float | None = None
    treated_score: float | None = None
    baseline_accuracy: float | None = None
    treated_accuracy: float | None = None


def find_twins(table: ScalingTable) -> Twins | None:
    """Harmonized objectives beside a baseline: the harmonizer of weight 0, else supervised training.

    Columns: objective (a label), objective_name, objective_weight; None where the table lacks them, or either side.
    """
    if not {"objective", "objective_name", "objective_weight"} <= set(table.columns):
        return None
    known = table.frame[["objective", "objective_name", "objective_weight"]].drop_duplicates()
    name, weight = known["objective_name"], pd.to_numeric(known["objective_weight"])
    treated = known["objective"][(name == TREATMENT) & (weight > 0)]
    plain = [*known["objective"][(name == TREATMENT) & (weight == 0)], *known["objective"][name == PLAIN]]
    return Twins(str(plain[0]), tuple(str(label) for label in treated)) if plain and len(treated) else None


def twin_differences(regions: Mapping[str, ScalingTable], twins: Twins) -> tuple[TwinDifference, ...]:
    """What each treatment changes, region by region and configuration by configuration."""
    return tuple(
        _difference(pairs, region=region, baseline=twins.baseline, treated=label)
        for region, table in regions.items()
        for label in scored_treatments(table, twins)
        for pairs in pair_rows(table, {"objective": label}, {"objective": twins.baseline}, PAIRED, _over(table))
    )


def twin_arrows(table: ScalingTable, twins: Twins) -> list[Arrow]:
    """An arrow from each baseline to each of its twins in one region: means over seeds."""
    return [
        arrow
        for label in scored_treatments(table, twins)
        for arrow in treatment_arrows(table, {"objective": label}, {"objective": twins.baseline}, PAIRED, _over(table))
    ]


def _over(table: ScalingTable) -> str | None:
    return "seed" if "seed" in table.columns else None


def scored_treatments(table: ScalingTable, twins: Twins) -> list[str]:
    """The treatments that a region's rows hold beside the baseline."""
    known = set(table.unique("objective")) if "accuracy" in table.columns else set()
    return [label for label in twins.treated if label in known] if twins.baseline in known else []


def _difference(pairs: Pairs, **names: str) -> TwinDifference:
    numbers: dict[str, Any] = {**names, "n": len(pairs.frame), "n_unpaired": pairs.n_unpaired}
    for quantity in QUANTITIES if len(pairs.frame) else ():
        before, after = pairs.values(quantity, "base"), pairs.values(quantity, "treated")
        numbers[quantity] = t_interval(after - before)
        numbers |= {f"baseline_{quantity}": float(before.mean()), f"treated_{quantity}": float(after.mean())}
    return TwinDifference(name=pairs.name, **numbers)
