"""The measured slope of misalignment in compute: what is left to say where no law of compute is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.fit.estimate import Estimate
from analysis.fit.trend import LEVEL, t_quantile
from analysis.fit.words import fold
from analysis.mapping.curves import MODEL, SAMPLES
from analysis.table import ScalingTable


@dataclass(frozen=True)
class Slope:
    """b of ln L = a + b ln C, its standard error and degrees of freedom; factor: of the C measured; of: whose it is."""

    value: float
    error: float
    dof: int
    factor: float
    of: str

    def gain(self, misalignment: float, times: float) -> Estimate:
        """L·(1 - times^b): what `times` the compute adds to a score, with the t interval of b."""
        reach = t_quantile(LEVEL, self.dof) * self.error
        value, *ends = (misalignment * (1 - times**b) for b in (self.value, self.value - reach, self.value + reach))
        return Estimate(value=value, low=min(ends), high=max(ends))

    def text(self) -> str:
        return f"the slope of {self.of}, compute {fold(self.factor)}"


def measured_slope(rows: ScalingTable) -> Slope | str:
    """The slope at the most stimuli that every run has; a reason where there is none.

    Over means of configurations, which are the independent points of a slope; of two alone over their runs: then it
    speaks of these two models, whose seeds it knows.
    """
    frame = rows.frame.assign(y=np.log(1.0 - rows.values("score")), x=np.log(rows.values("flops")))
    counts = frame.groupby(SAMPLES)["y"].size()
    last = frame[frame[SAMPLES] == counts[counts == counts.max()].index.max()].dropna(subset=["x", "y"])
    points = last.groupby(MODEL)[["x", "y"]].mean()
    models, of = len(points), f"{len(points)} configurations of models"
    if models == 2:
        points, of = last[["x", "y"]], f"{len(last)} runs of two models alone"
    if points["x"].nunique() < 2:
        return f"one compute in {len(last)} runs"
    if len(points) < 3:
        return f"{len(points)} runs of {models} models, which leave no scatter to judge a slope by"
    return _squares(points["x"].to_numpy(), points["y"].to_numpy(), of)


def _squares(x: Array, y: Array, of: str) -> Slope:
    centred, dof = x - x.mean(), len(x) - 2
    b = float(centred @ y / (centred @ centred))
    residual = y - y.mean() - b * centred
    error = float(np.sqrt(residual @ residual / dof / (centred @ centred)))
    return Slope(b, error, dof, float(np.exp(np.ptp(x))), of)
