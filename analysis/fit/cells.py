"""Configurations as points: rows of one configuration at one x become their mean, and no configuration counts twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.columns import Array
from analysis.fit.noise import precisions

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Means of ln x (n, k) and ln y (n,) over a configuration's rows at one x.

    cluster: (n,) the configuration; group: (n,) of shared exponents; weight: (n,) 1 over the configuration's cells;
    error: (n,) standard error of ln y as the rows' own errors give it, 0 where they are not known; precision: (n,) the
    configuration's weight among others, see `noise`.
    """

    log_x: Array
    log_y: Array
    cluster: Codes
    group: Codes
    weight: Array
    error: Array
    precision: Array

    @property
    def n_configurations(self) -> int:
        return len(np.unique(self.cluster))

    def summed(self, columns: Array) -> Array:
        """Sums (G, m) of columns (n, m) over the cells of each configuration, in the order of their codes."""
        at = np.unique(self.cluster, return_inverse=True)[1]
        return np.column_stack([np.bincount(at, column) for column in columns.T]).astype(np.float64)

    def of_group(self, group: int) -> Cells:
        """The cells of one group."""
        keep = self.group == group
        return Cells(*(array[keep] for array in vars(self).values()))


def cells_of(X: Sequence[Array], y: Array, cluster: Codes, group: Codes, error: Array) -> Cells:
    """The cells of rows (n,): axes X, target y, configuration and group codes, standard errors of ln y."""
    log_x = np.log(np.column_stack(X))
    _, at = np.unique(np.column_stack([cluster, group, log_x]), axis=0, return_inverse=True)
    return _means(at.ravel(), log_x, np.log(y), cluster, group, error)


def _means(code: Codes, log_x: Array, log_y: Array, cluster: Codes, group: Codes, error: Array) -> Cells:
    """Means by code; errors of independent rows add in squares."""
    count = np.bincount(code).astype(np.float64)
    first = np.unique(code, return_index=True)[1]

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(code, values) / count)

    own = cluster[first]
    weight = 1.0 / np.bincount(own)[own]
    of_mean = np.sqrt(np.bincount(code, error**2)) / count
    axes = np.column_stack([mean(x) for x in log_x.T])
    return _weighed(Cells(axes, mean(log_y), own, group[first], weight, of_mean, np.ones(len(own))))


def _weighed(cells: Cells) -> Cells:
    """The cells with the precisions of their configurations, each group's by itself."""
    precision = np.ones(len(cells.log_y))
    for code in np.unique(cells.group):
        rows, part = cells.group == code, cells.of_group(int(code))
        y, error = (part.summed((part.weight * a)[:, None])[:, 0] for a in (part.log_y, part.error))
        X = part.summed(part.weight[:, None] * np.column_stack([np.ones(len(part.log_y)), part.log_x]))
        at = np.unique(part.cluster, return_inverse=True)[1]
        precision[rows] = precisions(X, y, error)[at]
    return replace(cells, precision=precision)
