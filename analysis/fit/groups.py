"""What is asked of the data before a form is: does y fall, and are there enough points; of each group that shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.fit.cells import Cells, cells_of
from analysis.fit.identify import enough_points, enough_points_of_group
from analysis.fit.rows import Data, gather
from analysis.fit.spec import FitSpec
from analysis.fit.status import Verdict
from analysis.fit.trend import Trend, find_trend
from analysis.fit.words import quantity_of, trend_sentence
from analysis.table import ScalingTable


@dataclass(frozen=True)
class Asked:
    """The rows that a form is fitted to, and what was found out before.

    whole: all rows, whether their group shares the form or not; data, cells: of those that do; trends: by group (""
    without groups); excluded: groups that cannot share the form, and why; verdict: why no form is asked for at all.
    """

    whole: Data
    data: Data
    cells: Cells
    trends: Mapping[str, Trend]
    excluded: Mapping[str, Verdict]
    verdict: Verdict | None

    def row_weights(self) -> Array:
        """Weights (n,) of the rows in a sum of absolute residuals: the root of their configuration's precision."""
        of_group = np.zeros((int(self.data.clusters.max()) + 1, len(self.data.design.groups) or 1))
        of_group[self.cells.cluster, self.cells.group] = np.sqrt(self.cells.precision)
        return np.asarray(of_group[self.data.clusters, self.data.design.group])


def ask(rows: ScalingTable, spec: FitSpec) -> Asked:
    """Trends first, then the rows of those groups that fall and have points enough for a share in the form."""
    data = gather(rows, spec)
    cells = _cells(data)
    if not data.form.terms:  # a constant is not asked whether it falls
        return Asked(data, data, cells, {}, {}, _too_few(data))
    groups = data.design.groups or ("",)
    trends = {name: find_trend(cells.of_group(g), spec.axes, spec.flat) for g, name in enumerate(groups)}
    refused = _refused(data, trends, quantity_of(data.rows, spec))
    if not spec.shared_by:
        return Asked(data, data, cells, trends, {}, refused.get(""))
    if len(refused) == len(groups):
        return Asked(data, data, cells, trends, refused, _of_all(refused))
    shared = _without(data, refused, spec)
    return Asked(data, shared, _cells(shared), trends, refused, _too_few(shared))


def _cells(data: Data) -> Cells:
    return cells_of(data.design.X, data.y, data.clusters, data.design.group, data.errors)


def _refused(data: Data, trends: Mapping[str, Trend], quantity: str) -> dict[str, Verdict]:
    """Groups (or all rows, without groups) that are not asked for their form, and why."""
    verdicts = {name: _refusal(data, g, trend, quantity) for g, (name, trend) in enumerate(trends.items())}
    return {name: verdict for name, verdict in verdicts.items() if verdict is not None}


def _refusal(data: Data, group: int, trend: Trend, quantity: str) -> Verdict | None:
    if trend.direction != "falls":
        return Verdict(trend.direction, trend_sentence(trend, quantity), data.design.names)
    if not data.design.groups:
        return _too_few(data)
    shortage = enough_points_of_group(data.design, data.clusters, data.design.group == group)
    return None if shortage is None else Verdict("too few points", shortage, data.design.names)


def _too_few(data: Data) -> Verdict | None:
    shortage = enough_points(data.design, data.clusters)
    return None if shortage is None else Verdict("too few points", shortage, data.design.names)


def _of_all(refused: Mapping[str, Verdict]) -> Verdict:
    """The verdict of a law that none of its groups can share."""
    statuses = {verdict.status for verdict in refused.values()}
    reason = "; ".join(f"{name}: {verdict.reason}" for name, verdict in refused.items())
    weak = next(iter(refused.values())).weak
    return Verdict(statuses.pop() if len(statuses) == 1 else "undetermined", reason, weak)


def _without(data: Data, refused: Mapping[str, Verdict], spec: FitSpec) -> Data:
    """The rows of the groups that share."""
    if not refused:
        return data
    member = data.rows.column(str(spec.shared_by)).astype(str)
    return gather(data.rows.where(~member.isin(list(refused)).to_numpy()), spec)
