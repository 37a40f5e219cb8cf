"""A value and its interval, from the value's bootstrap draws."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from analysis.columns import Array
from analysis.fit.resample import HALVED, bca_interval, stretched


class PlainModel(BaseModel):
    """Base of what is told: frozen, and plain values for JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity: null instead."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain


class Estimate(PlainModel):
    """A value and its confidence interval; without a bootstrap the interval is missing."""

    value: float
    low: float | None = None
    high: float | None = None

    def text(self, spec: str = ".3g") -> str:
        if self.low is None or self.high is None:
            return format(self.value, spec)
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def estimate(value: float, draws: Array, level: float, left_out: Array | None = None, stretch: float = 1.0) -> Estimate:
    """A value with the interval of its draws: halved BCa with jackknife values `left_out`, percentile without.

    stretch: see `resample.stretch_of`.

    Draws and jackknife values of any shape; infinite draws count. No draws, no interval.
    """
    draws = np.asarray(draws, dtype=np.float64).ravel()
    if not draws.size:
        return Estimate(value=float(value))
    if left_out is None:
        tail = (1 - level) / 2
        low, high = np.quantile(draws, [tail, 1 - tail], method="nearest")
    else:
        low, high = bca_interval(draws, value, np.asarray(left_out).ravel(), level, HALVED)
    low, high = stretched(float(value), float(low), float(high), stretch)
    return Estimate(value=float(value), low=low, high=high)
