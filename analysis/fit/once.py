"""Laws fitted once: the same rows and the same question give the law that is there."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd

from analysis.fit.fit import fit_spec
from analysis.fit.law import FittedLaw
from analysis.fit.spec import FitSpec
from analysis.table import ScalingTable


class Fits:
    """`fit_law` with options of its own, that remembers what it has fitted.

    options: of every fit, unless a call says otherwise, as bootstrap=500; see `FitSpec`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._known: dict[tuple[str, FitSpec], FittedLaw] = {}

    def __call__(
        self, rows: ScalingTable, form: str = "power_law", axes: tuple[str, ...] = (), **options: Any
    ) -> FittedLaw:
        """As `fit_law`. Raises ValueError as it does, each time anew."""
        spec = FitSpec(form=form, axes=axes, **{**self.options, **options})
        key = (_mark(rows), spec)
        if key not in self._known:
            self._known[key] = fit_spec(rows, spec)
        return self._known[key]


def _mark(rows: ScalingTable) -> str:
    """Changes with every value of the rows, and with what was left out before."""
    values = pd.util.hash_pandas_object(rows.frame, index=False).to_numpy().tobytes()
    return hashlib.sha256(values + repr((rows.columns, sorted(rows.left_out.items()))).encode()).hexdigest()
