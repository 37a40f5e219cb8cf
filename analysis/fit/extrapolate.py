"""The test that counts for a recipe: fit on the cheapest share of the compute, predict the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.columns import Array, measured, measured_name
from analysis.fit.fit import fit_criterion, fit_spec
from analysis.fit.law import FittedLaw, finite
from analysis.fit.spec import FitSpec
from analysis.table import ScalingTable

CANDIDATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("constant", ("flops",)),
    ("power_law", ("flops",)),
    ("shifted_power_law", ("flops",)),
    ("chinchilla", ("n_params", "samples_seen")),
    ("data_constrained", ("n_params", "n_samples", "samples_seen")),
)

TRIAL_NUMBERS = ("median_error", "worst_tenth", "aicc")


@dataclass(frozen=True)
class Trial:
    """One form's extrapolation: errors of the score beyond the threshold, the fit below it, AICc on all rows."""

    form: str
    axes: tuple[str, ...]
    median_error: float
    worst_tenth: float
    status: str
    aicc: float
    reason: str = ""


@dataclass(frozen=True)
class Extrapolation:
    """Trials by form, best first; chosen: the form of least median error among those that could be fitted."""

    threshold: float
    n_fitted: int
    n_predicted: int
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        return self.trials[0]

    def to_dict(self) -> dict[str, object]:
        return {
            "threshold_flops": self.threshold, "n_fitted": self.n_fitted, "n_predicted": self.n_predicted,
            "chosen": self.chosen.form,
            "trials": [{**vars(t), "axes": list(t.axes), **{n: finite(getattr(t, n)) for n in TRIAL_NUMBERS}}
                       for t in self.trials],
        }  # fmt: skip

    def text(self) -> str:
        """A table for a terminal: form, median and 90th percentile of |error of score|, status, AICc."""
        head = f"fitted on {self.n_fitted} rows below {self.threshold:.3g} FLOP, {self.n_predicted} predicted above"
        rows = [f"  {'form':<20}{'median |err|':>13}{'90 % |err|':>12}{'AICc':>11}  status"]
        rows += [
            f"  {t.form:<20}{t.median_error:>13.4f}{t.worst_tenth:>12.4f}{t.aicc:>11.1f}  {t.status} {t.reason}"
            for t in self.trials
        ]
        return "\n".join([head, *rows, f"  chosen: {self.chosen.form}"])


def compare_forms(
    rows: ScalingTable, threshold: float | None = None,
    candidates: Sequence[tuple[str, tuple[str, ...]]] = CANDIDATES, spec: FitSpec | None = None,
) -> Extrapolation:  # fmt: skip
    """Fit each form on rows with flops at most `threshold` (default: the cheapest half), predict the others.

    Errors are |predicted - measured| of the target, which for misalignment equals that of the score. Forms whose
    axes the rows lack, or that cannot be fitted, come last with the reason. All forms see the same rows.
    spec: the options of the fits, as FitSpec(target="loss").
    """
    base = spec or FitSpec()
    axes_there = sorted({a for _, axes in candidates for a in axes if a in rows.columns})
    rows = rows.require("flops", measured_name(base.target), *axes_there)
    flops = rows.values("flops")
    limit = float(np.median(flops)) if threshold is None else threshold
    below, above = rows.where(flops <= limit), rows.where(flops > limit)
    if len(below) < 5 or not len(above):
        raise ValueError(
            f"threshold={limit:.3g} FLOP leaves {len(below)} rows to fit and {len(above)} to predict; choose one "
            f"within {flops.min():.3g} to {flops.max():.3g}"
        )
    trials = [_trial(form, axes, base, rows, below, above) for form, axes in candidates]
    ordered = sorted(trials, key=lambda t: (not np.isfinite(t.median_error), t.median_error))
    return Extrapolation(limit, len(below), len(above), tuple(ordered))


def _trial(
    form: str, axes: tuple[str, ...], base: FitSpec, rows: ScalingTable, below: ScalingTable, above: ScalingTable
) -> Trial:
    spec = base.model_copy(update={"form": form, "axes": axes, "bootstrap": 0, "shared_by": None})
    try:
        law = fit_spec(below, spec)
        if law.status == "too few points":
            return Trial(form, axes, np.inf, np.inf, law.status, np.inf, law.reason)
        aicc = fit_criterion(rows, spec)
    except ValueError as error:
        return Trial(form, axes, np.inf, np.inf, "no fit", np.inf, str(error))
    gap = np.abs(law.predict(**_axes(law, above)) - _measured(law, above))
    return Trial(form, axes, float(np.median(gap)), float(np.quantile(gap, 0.9)), law.status, aicc)


def _axes(law: FittedLaw, rows: ScalingTable) -> dict[str, Any]:
    return {name: rows.values(name) for name in law.axes}


def _measured(law: FittedLaw, rows: ScalingTable) -> Array:
    y: Array = measured(law.spec.target, rows.values(measured_name(law.spec.target)))
    return y


def choose_form(rows: ScalingTable, threshold: float | None = None, spec: FitSpec | None = None) -> str:
    """The form that predicts the dearer rows best from the cheaper ones."""
    return compare_forms(rows, threshold, spec=spec).chosen.form
