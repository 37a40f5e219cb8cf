"""When a study may end before all its runs are trained."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt

from scaling.specs.base import Spec


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} must be finite, as 1e18")
    return value


class StopSpec(Spec):
    """Ends a study once what is asked of it is known; what is left out is listed, and trained once `stop` is removed.

    recipe: a region of the study's benchmarks, or accuracy. budget: FLOP. factor f: N_opt of that region at that budget
    is known once its law is ok and its 95 % interval lies between N_opt / f and f N_opt, at three looks after each
    other; where a family has fewer than three sizes or amounts of data, so that no law splits compute, its predicted
    misalignment 1 - score instead. family: the one asked about; by default all are, and each has to be known.
    round: runs between two looks. order: cheapest runs first, or informative: those next that lower the variance of
    what is asked most per (FLOP + run_flops), by the law so far; run_flops: what a run costs beside its own FLOP.
    """

    recipe: str
    budget: Annotated[float, Field(gt=0), AfterValidator(_finite)]
    factor: Annotated[float, Field(gt=1), AfterValidator(_finite)]
    order: Literal["cheapest", "informative"] = "cheapest"
    family: str | None = None
    round: PositiveInt = 4
    run_flops: Annotated[NonNegativeFloat, AfterValidator(_finite)] = 0.0
