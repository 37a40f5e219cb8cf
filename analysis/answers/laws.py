"""The laws of a study: of the error and of every region's misalignment, and the recipes that they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.fit.fit import fit_law
from analysis.fit.law import FittedLaw
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable

REPEATED_AXES = ("n_params", "n_samples", "samples_seen")
LEAST_LEVELS = 3  # of unique images, and of epochs: fewer bend no curve

Fitted = FittedLaw | str  # a law, or why the rows cannot be asked for one


@dataclass(frozen=True)
class StudyLaws:
    """compute: (region, family) -> L = E + A·C^-alpha, each family alone.

    size: region -> L = E + A·N^-alpha + B·D^-beta with E, A, B of each family and exponents shared by the families.
    repeated: likewise of N, unique images U and D, where repeats lose worth at a rate 1 / R*; of studies that vary both
    U and epochs alone, see `varies_repeats`.
    """

    compute: Mapping[tuple[str, str], Fitted]
    size: Mapping[str, Fitted]
    repeated: Mapping[str, Fitted] = field(default_factory=dict)

    def best(self, region: str) -> Fitted:
        """The law that recipes and predictions rest on: of repeats where it is usable and has the lower AICc."""
        size, repeated = self.size[region], self.repeated.get(region)
        if not isinstance(repeated, FittedLaw) or not repeated.usable:
            return size
        if isinstance(size, FittedLaw) and size.usable and size.diagnostics.aicc <= repeated.diagnostics.aicc:
            return size
        return repeated

    def of_region(self, region: str) -> list[FittedLaw]:
        """A region's laws in compute, families apart."""
        return [law for (name, _), law in self.compute.items() if name == region and isinstance(law, FittedLaw)]


def fit_study(regions: Mapping[str, ScalingTable], families: tuple[str, ...], **options: Any) -> StudyLaws:
    """Every law of a study, with bootstrap intervals where it is usable; options: as of `FitSpec`."""
    shared = "family" if len(families) > 1 else None
    size = {
        region: _fit(rows, form="chinchilla", axes=("n_params", "samples_seen"), shared_by=shared, **options)
        for region, rows in regions.items()
    }
    compute = {
        (region, family): _fit(part, form="power_law", axes=("flops",), **options) if part else lacking(region, family)
        for region, rows in regions.items()
        for family, part in family_rows(rows, families).items()
    }
    repeated = {
        region: _fit(rows, form="data_constrained", axes=REPEATED_AXES, shared_by=shared, **options)
        for region, rows in regions.items()
        if varies_repeats(rows)
    }
    return StudyLaws(compute, size, repeated)


def varies_repeats(rows: ScalingTable) -> bool:
    """Whether some model was trained on LEAST_LEVELS numbers of unique images, and for as many numbers of epochs."""
    if not {*REPEATED_AXES, "family"} <= set(rows.columns):
        return False
    N, U, D = (rows.values(name) for name in REPEATED_AXES)
    levels: defaultdict[tuple[str, float], tuple[set[float], set[float]]] = defaultdict(lambda: (set(), set()))
    for family, n_params, images, seen in zip(rows.column("family").astype(str), N, U, D, strict=True):
        if np.isfinite(images) and np.isfinite(seen) and images > 0:
            unique, epochs = levels[family, n_params]
            unique.add(float(images))
            epochs.add(round(float(seen / images), 3))
    return any(min(len(unique), len(epochs)) >= LEAST_LEVELS for unique, epochs in levels.values())


def family_rows(rows: ScalingTable, families: tuple[str, ...]) -> dict[str, ScalingTable | None]:
    """A region's rows of each family; None for one that has none there."""
    known = {str(family): part for family, part in rows.group("family")} if len(rows) else {}
    return {family: known.get(family) for family in families}


def trend_law(laws: StudyLaws, region: str, family: str) -> tuple[FittedLaw, str] | None:
    """The law whose trend is told of a family in a region, and its group: of N and D, or else of compute."""
    size, compute = laws.size[region], laws.compute[region, family]
    if isinstance(size, FittedLaw):
        group = family if size.spec.shared_by else ""
        if group in size.trends:
            return size, group
    return (compute, "") if isinstance(compute, FittedLaw) and compute.trends else None


def lacking(region: str, family: str) -> str:
    """Why a family has no law of a region."""
    return f"no complete row of {family} in region {region}"


def _fit(rows: ScalingTable, **spec: Any) -> Fitted:
    try:
        return fit_law(rows, **spec)
    except ValueError as error:  # rows that no law can be asked of, such as a single model size
        return str(error)


def study_recipes(laws: StudyLaws, families: tuple[str, ...]) -> dict[str, Recipe]:
    """One recipe a family, over all regions that have a law of it."""
    recipes = {}
    for family in families:
        group = family if len(families) > 1 else ""
        held = {
            region: law
            for region, law in ((region, laws.best(region)) for region in laws.size)
            if isinstance(law, FittedLaw) and (not group or group in law.trends)
        }
        if held:
            recipes[family] = Recipe.from_laws(held, group=group)
    return recipes


def left_out(base: ScalingTable, rows: ScalingTable, laws: StudyLaws, region: str) -> dict[str, int]:
    """What a region's mean, and then its laws, left out beyond what the study's table had left out: reason -> rows."""
    size = laws.size[region]
    in_size = _added(rows, size.rows) if isinstance(size, FittedLaw) else {}
    in_compute: dict[str, int] = {}
    for law in laws.of_region(region):
        for reason, n in _added(rows, law.rows).items():
            in_compute[reason] = in_compute.get(reason, 0) + n
    dropped = {reason: max(in_size.get(reason, 0), in_compute.get(reason, 0)) for reason in (*in_size, *in_compute)}
    return {**_added(base, rows), **dropped}


def _added(before: ScalingTable, after: ScalingTable) -> dict[str, int]:
    """Counts of `after` beyond those of `before`."""
    return {r: n - before.left_out.get(r, 0) for r, n in after.left_out.items() if n > before.left_out.get(r, 0)}
