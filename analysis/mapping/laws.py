"""Laws over the stimuli of a mapping: of each model, and of compute and stimuli together.

    L(n) = E + A·n^-alpha                       of a model, for each subject and for their mean
    L(C, n) = E + A·C^-alpha + B·n^-beta        of a family, L = 1 - score

A model's points are its means over orders of the stimuli and over seeds; what they scatter about the law is the noise.
Of a surface the configurations of models are drawn whole, with all their numbers of stimuli. Neither knows what other
units, animals or test stimuli would give.

Source: Gokce, Tang & Schrimpf (2026), ICML: E + A·x^-alpha of the stimuli; Hoffmann et al. (2022): the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.fit.fit import fit_law
from analysis.fit.law import FittedLaw
from analysis.mapping.curves import EVERYONE, MODEL, SAMPLES, SUBJECT, mapping_rows
from analysis.table import ScalingTable

AXES = ("flops", SAMPLES)
CURVE_SPEC: dict[str, Any] = {"form": "power_law", "axes": (SAMPLES,), "cluster": "row"}
SURFACE_SPEC: dict[str, Any] = {"form": "chinchilla", "axes": AXES, "cluster": MODEL}

Fitted = FittedLaw | str  # a law, or why the rows cannot be asked for one
CurveKey = tuple[str, str, str]  # benchmark, model, subject
SurfaceKey = tuple[str, str]  # benchmark, family


@dataclass(frozen=True)
class MappingLaws:
    """rows: as of `mapping_rows`; curves: (benchmark, model, subject) -> law; surfaces: (benchmark, family) -> law."""

    rows: ScalingTable
    curves: Mapping[CurveKey, Fitted]
    surfaces: Mapping[SurfaceKey, Fitted]

    def region(self, benchmark: str) -> str:
        return str(self.rows.select(benchmark=benchmark).unique("region")[0])

    def of_everyone(self, benchmark: str, family: str) -> dict[str, Fitted]:
        """The laws over n of a family's models, for the mean of the subjects, by model."""
        own = self.rows.select(benchmark=benchmark, family=family).unique(MODEL)
        return {model: self.curves[benchmark, model, EVERYONE] for model in own}


def fit_mapping(table: ScalingTable, by_subject: bool = True, **options: Any) -> MappingLaws:
    """Every law of a table's mapping curves; options: as of `FitSpec`. by_subject: also of each subject alone.

    Raises ValueError: no row has a curve, or one that cannot be read.
    """
    rows = mapping_rows(table.require("family", "region"))
    if not by_subject:
        rows = rows.select(subject=EVERYONE)
    return laws_of(
        rows,
        lambda _, part: _fit(part, **CURVE_SPEC, **options),
        lambda _, part: _fit(part, **SURFACE_SPEC, **options),
    )


def laws_of(
    rows: ScalingTable, curve: Callable[[CurveKey, ScalingTable], Fitted],
    surface: Callable[[SurfaceKey, ScalingTable], Fitted],
) -> MappingLaws:  # fmt: skip
    """Laws by what makes each of its key and rows: a fit, or what was saved."""
    curves = {key: curve(key, part) for key, part in curve_rows(rows)}
    surfaces = {key: surface(key, part) for key, part in surface_rows(rows)} if "flops" in rows.columns else {}
    return MappingLaws(rows, curves, surfaces)


def curve_rows(rows: ScalingTable) -> Iterator[tuple[CurveKey, ScalingTable]]:
    """The rows of each law over n: one a number of stimuli that all runs of the model have, their mean."""
    for (benchmark, model, subject), part in rows.group("benchmark", MODEL, SUBJECT):
        yield (str(benchmark), str(model), str(subject)), means_of_runs(part)


def means_of_runs(part: ScalingTable) -> ScalingTable:
    """One row a number of stimuli, of those that every run has."""
    grouped = part.frame.groupby(SAMPLES, as_index=False)
    means = grouped.agg(score=("score", "mean"), region=("region", "first"), runs=("score", "size"))
    most = int(means["runs"].max())
    return ScalingTable.from_frame(means[means["runs"] == most], where="the mapping curves")


def surface_rows(rows: ScalingTable) -> Iterator[tuple[SurfaceKey, ScalingTable]]:
    """The rows of each surface: runs and numbers of stimuli of a family, for the mean of the subjects."""
    known = rows.select(subject=EVERYONE)
    if not known.column("flops").notna().any():
        return
    for (benchmark, family), part in known.require("flops").group("benchmark", "family"):
        yield (str(benchmark), str(family)), part


def _fit(rows: ScalingTable, **spec: Any) -> Fitted:
    try:
        return fit_law(rows, **spec)
    except ValueError as error:  # rows that no law can be asked of, such as a single number of stimuli
        return str(error)
