"""The two chances of a grid under an assumed law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.power.assumed import AssumedLaw
from analysis.power.falls import chance_falls
from analysis.power.grid import Grid
from analysis.power.usable import chance_usable


@dataclass(frozen=True)
class Chances:
    """falls: that "falls" is said; usable: that the form's status is ok or weakly identified, and "falls" is said.

    change: of ln y from the worst to the best configuration, as assumed; reason: why no form can be asked for.
    """

    falls: float
    usable: float
    change: float
    reason: str = ""

    @property
    def least(self) -> float:
        return min(self.falls, self.usable)


def chances(grid: Grid, law: AssumedLaw) -> Chances:
    """What a grid of runs would find if the law held."""
    log_y = np.log(law.mean(grid.n_params, grid.samples_seen))
    falls = chance_falls(grid, log_y, law.sigma(grid.seeds))
    form = chance_usable(grid, law, log_y)
    return Chances(falls, min(falls, form.chance), float(-np.ptp(log_y)), form.reason)
