"""A trend as a sentence with numbers."""

from __future__ import annotations

import numpy as np

from analysis.columns import ACCURACY, MISALIGNMENT
from analysis.fit.spec import FitSpec
from analysis.fit.trend import FLAT_LEVEL, LEVEL, MOST_MORE, Change, Trend
from analysis.table import ScalingTable

AXIS_NAMES = {
    "flops": "compute", "n_params": "parameters", "samples_seen": "samples seen", "n_samples": "unique images",
    "mapping_samples": "mapping stimuli",
}  # fmt: skip


def axis_name(name: str) -> str:
    return AXIS_NAMES.get(name, name)


def percent(log_change: float) -> float:
    """A change of ln y in percent of y."""
    return float(100 * np.expm1(log_change))


def size_of(change: Change, level: float = LEVEL) -> str:
    """'64 % [43, 77]' for a fall or a rise: sizes, the smaller end first."""
    ends = sorted((abs(percent(end)) if np.sign(end) == np.sign(change.value) else -abs(percent(end)))
                  for end in change.interval(level))  # fmt: skip
    return f"{_number(abs(percent(change.value)))} % [{_number(ends[0])}, {_number(ends[1])}]"


def signed(change: Change, level: float) -> str:
    low, high = (percent(end) for end in change.interval(level))
    return f"{_number(percent(change.value), '+')} % [{_number(low, '+')}, {_number(high, '+')}]"


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.0f}" if abs(value) >= 10 else f"{value:{sign}.1f}"


def trend_sentence(trend: Trend, quantity: str) -> str:
    """'misalignment falls by 64 % [43, 77] over the measured range (compute 512-fold)'."""
    if trend.reason:
        return f"whether {quantity} changes is undetermined: {trend.reason}"
    if trend.direction in ("falls", "rises"):
        return f"{quantity} {_moves(trend)}"
    if trend.direction == "mixed":
        parts = [f"{verb} by {_along(c, trend)}" for sign, verb in ((-1, "falls"), (1, "rises"))
                 for c in trend.moving(sign)]  # fmt: skip
        return f"{quantity} {' and '.join(parts)}"
    if trend.direction == "flat":
        return (
            f"{quantity} is flat: it changes by {signed(trend.total, FLAT_LEVEL)} over {_range(trend)}, and along no "
            f"axis by {100 * trend.margin:g} % ({FLAT_LEVEL:.0%} intervals)"
        )
    return (
        f"whether {quantity} changes is undetermined: {signed(trend.total, LEVEL)} over {_range(trend)}; {_more(trend)}"
    )


def change_cell(trend: Trend) -> str:
    """The trend in a table's cell: 'falls 64 % [43, 77]'."""
    if trend.reason:
        return "undetermined"
    if trend.direction in ("falls", "rises") and trend.total.known and trend.total.direction(LEVEL):
        return f"{trend.direction} {size_of(trend.total)}"
    moving = trend.moving(-1 if trend.direction == "falls" else 1) if trend.direction in ("falls", "rises") else ()
    if moving:  # along an axis, and not over all
        return f"{trend.direction} {size_of(moving[0], trend.axis_level)} along {axis_name(moving[0].name)}"
    level = FLAT_LEVEL if trend.direction == "flat" else LEVEL
    return f"{trend.direction} {signed(trend.total, level)}" if trend.total.known else trend.direction


def _moves(trend: Trend) -> str:
    if trend.total.known and trend.total.direction(LEVEL):
        return f"{trend.direction} by {size_of(trend.total)} over {_range(trend)}"
    sign = -1 if trend.direction == "falls" else 1
    along = " and ".join(_along(change, trend) for change in trend.moving(sign))
    whole = f"; over all axes {signed(trend.total, LEVEL)}" if trend.total.known else ""
    return f"{trend.direction} by {along}{whole}"


def _along(change: Change, trend: Trend) -> str:
    return f"{size_of(change, trend.axis_level)} along {axis_name(change.name)} ({fold(change.factor)})"


def fold(factor: float) -> str:
    """'16-fold', '2,000-fold', '10^6-fold'."""
    rounded = float(f"{factor:.2g}")
    if rounded >= 1e5:
        return f"10^{np.log10(factor):.2g}-fold"
    return f"{rounded:,.0f}-fold" if rounded >= 10 else f"{rounded:g}-fold"


def _range(trend: Trend) -> str:
    factors = ", ".join(f"{axis_name(change.name)} {fold(change.factor)}" for change in trend.axes)
    return f"the measured range ({factors})"


def _more(trend: Trend) -> str:
    if trend.more is None:
        return f"more than {MOST_MORE} further configurations would be needed to decide"
    return f"about {trend.more} more configurations would decide"


def quantity_of(rows: ScalingTable, spec: FitSpec) -> str:
    """What falls or rises: "error" for accuracies, "misalignment" for scores, else the target's name."""
    if spec.target != MISALIGNMENT:
        return spec.target
    only = set(map(str, rows.unique("region"))) if "region" in rows.columns else set()
    return "error" if only == {ACCURACY} else MISALIGNMENT
