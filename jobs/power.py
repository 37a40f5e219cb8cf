"""The power of a planned study: its grid, with a law from a pilot, from its own runs, or from what is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.answers.answering import study_rows
from analysis.answers.by_region import REGION_ORDER
from analysis.answers.saved import INDEX, LAWS
from analysis.columns import ACCURACY
from analysis.power.assumed import AssumedLaw
from analysis.power.grid import Grid
from analysis.power.pilot import PilotLaw, pilot_laws
from analysis.power.power import StudyPower, plan_power
from analysis.power.prior import assume_published
from analysis.table import SIMULATED, ScalingTable
from jobs.arguments import asked, opened
from jobs.tables import read_table
from scaling.alignment.suites.registry import benchmark_regions
from scaling.cluster.plan import StudyPlan
from scaling.errors import StudyError
from scaling.frames import objective_labels
from scaling.ledger import Study
from scaling.specs.objective import objective_spec

Laws = Mapping[tuple[str, str], PilotLaw]


def study_power(study: Study, plan: StudyPlan, pilot: Laws | None = None) -> StudyPower:
    """The chances of a plan's grid, by the first of: a pilot's laws, those of the study's own runs, the published."""
    grids = planned_grids(plan)
    measured = own_laws(study) if pilot is None else pilot
    laws = {
        (region, family): _assumed(region, family, grid, measured)
        for region in regions_of(study.spec.benchmarks)
        for family, grid in grids.items()
    }
    return plan_power(grids, laws, plan.n_train)


def planned_grids(plan: StudyPlan) -> dict[str, Grid]:
    """The grid of each family; of each family and objective where there are several, as the answer has them."""
    labels = objective_labels(objective_spec(item.run.objective) for item in plan.runs)
    rows = pd.DataFrame({
        "family": [
            item.run.model.family_name + (f" {labels[objective_spec(item.run.objective)]}" if len(labels) > 1 else "")
            for item in plan.runs
        ],
        **{name: [getattr(item, name) for item in plan.runs]
           for name in ("n_params", "n_samples", "samples_seen", "flops")},
    })  # fmt: skip
    return {
        str(family): Grid.of_runs(*(part[name].to_numpy(float) for name in rows.columns[1:]))
        for family, part in rows.groupby("family", sort=False)
    }


def regions_of(benchmarks: tuple[str, ...]) -> list[str]:
    """The regions that the answer will have: accuracy, and simulated ones apart where real ones stand beside them."""
    found: dict[str, set[bool]] = {}
    for name, region in benchmark_regions(benchmarks).items():
        found.setdefault(region, set()).add(SIMULATED in name.lower())
    names = [ACCURACY]
    for region in sorted(found, key=lambda r: REGION_ORDER.index(r) if r in REGION_ORDER else -1):
        names += [region, f"{SIMULATED} {region}"] if len(found[region]) > 1 else [region]
    return names


def _assumed(region: str, family: str, grid: Grid, measured: Laws) -> AssumedLaw | str:
    law = measured.get((region, family))
    if isinstance(law, AssumedLaw):
        return law
    published = assume_published(region.removeprefix(f"{SIMULATED} "), grid)
    return published or f"nothing is published of region {region}; name a study that measured it by --pilot"


def own_laws(study: Study) -> Laws:
    """From the study's finished runs that its own protocols have scored; none before there are any."""
    finished = [record for record in study.records.values() if record.status == "finished"]
    if not any(len(study.lacking(r.run_id, r.epochs)) < len(study.protocols) for r in finished):
        return {}
    return _laws_of(ScalingTable.from_frame(study.table()), "this study's runs")


def read_pilot(path: Path) -> Laws:
    """The laws of a pilot: a study's file, its results or answer folder, or a table (CSV, Parquet).

    Raises:
        StudyError: no results are there, or none that a law can be made of.
    """
    return _laws_of(_pilot_table(path), f"pilot '{path}'")


def _pilot_table(path: Path) -> ScalingTable:
    if path.suffix in (".yaml", ".yml"):
        return ScalingTable.from_frame(opened(path, None).table())
    answer = (path / INDEX).exists() and (path / LAWS).exists()
    found: ScalingTable = asked(read_table, path.resolve().parent if answer else path)
    return found


def _laws_of(table: ScalingTable, name: str) -> Laws:
    try:
        return pilot_laws(study_rows(table).regions, name)
    except ValueError as error:
        raise StudyError(f"{name}: {error}") from error
