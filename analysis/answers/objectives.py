"""Studies of several objectives: no law mixes them."""

from __future__ import annotations

from analysis.table import ScalingTable
from analysis.tradeoff.twins import PLAIN_FAMILY


def name_objectives(table: ScalingTable) -> ScalingTable:
    """Where there are several objectives `family` becomes 'resnet harmonizer weight=3', and `arch` keeps 'resnet'."""
    if "objective" not in table.columns or len(table.unique("objective")) < 2:
        return table
    table = table.require("objective")
    family = table.column("family").astype(str)
    named = family + " " + table.column("objective").astype(str)
    return table.with_columns(family=named, **{PLAIN_FAMILY: family})
