"""A study's rows region by region: simulated benchmarks apart, several benchmarks of a region as their mean."""

from __future__ import annotations

import numpy as np

from analysis.columns import ACCURACY
from analysis.table import SIMULATED, ScalingTable

REGION_ORDER = (ACCURACY, "V1", "V2", "V4", "behavior", "IT")  # others come first


def by_region(rows: ScalingTable) -> dict[str, ScalingTable]:
    """One table a region, IT last; several benchmarks of a region enter as their mean, simulated ones apart.

    A model that lacks one of a region's benchmarks is left out of it, counted in that table's `left_out`.
    """
    regions: dict[str, ScalingTable] = {}
    for region, part in rows.group("region"):
        simulated = np.array([SIMULATED in str(name).lower() for name in part.column("benchmark")])
        if simulated.all() or not simulated.any():
            regions[str(region)] = part
        else:
            regions |= {str(region): part.where(~simulated), f"{SIMULATED} {region}": part.where(simulated)}
    return {
        region: part.mean_over("benchmark") if len(part.unique("benchmark")) > 1 else part
        for region, part in sorted(regions.items(), key=lambda item: _order(item[0]))
    }


def _order(region: str) -> int:
    return REGION_ORDER.index(region) if region in REGION_ORDER else -1
