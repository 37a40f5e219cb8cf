"""A law for a region, for the mean over regions, or for each region of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.columns import ACCURACY, MISALIGNMENT, measured_name
from analysis.fit.extrapolate import Extrapolation, compare_forms
from analysis.fit.fit import fit_spec
from analysis.fit.law import FittedLaw
from analysis.fit.spec import FitSpec
from analysis.table import ScalingTable


@dataclass(frozen=True)
class TargetLaws:
    """A law by target, and the extrapolation test where it was asked for."""

    laws: Mapping[str, FittedLaw]
    extrapolation: Mapping[str, Extrapolation]

    def text(self) -> str:
        parts = [f"{name}\n{law.text()}" for name, law in self.laws.items()]
        return "\n\n".join(parts + [f"{name}: {test.text()}" for name, test in self.extrapolation.items()])

    def to_dict(self) -> dict[str, Any]:
        return {"laws": {name: law.to_dict() for name, law in self.laws.items()},
                "extrapolation": {name: test.to_dict() for name, test in self.extrapolation.items()}}  # fmt: skip


def targets(
    rows: ScalingTable, region: str | None = None, mean: bool = False, target: str = MISALIGNMENT
) -> dict[str, ScalingTable]:
    """Rows by target: one region, the mean over all of them, or each region; one of its name without regions.

    Region 'accuracy' is the held-out accuracy of the rows' models, see `ScalingTable.with_accuracy`.
    """
    name = measured_name(target)
    if "region" not in rows.columns:
        return {name: rows}
    if region == ACCURACY:
        rows = rows.with_accuracy()
    if region is not None:
        return {region: rows.select(region=region)}
    return {name: rows.mean_over("region", of=name)} if mean else {str(r): part for r, part in rows.group("region")}


def fit_targets(
    rows: ScalingTable, spec: FitSpec, region: str | None = None, mean: bool = False, extrapolate: bool = False
) -> TargetLaws:
    """The law of a spec for each target (see `targets`); extrapolate: also test every form on the costliest rows."""
    chosen = targets(rows, region, mean, spec.target)
    laws = {name: fit_spec(part, spec) for name, part in chosen.items()}
    tests = {name: compare_forms(part, spec=spec) for name, part in chosen.items()} if extrapolate else {}
    return TargetLaws(laws, tests)
