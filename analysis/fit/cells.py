"""Configurations as points: rows of one configuration at one x become their mean, and no configuration counts twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import Array

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Means of ln x (n, k) and ln y (n,) over a configuration's rows at one x.

    cluster: (n,) the configuration; group: (n,) of shared exponents; weight: (n,) 1 over the configuration's cells;
    error: (n,) standard error of ln y as the rows' own errors give it, 0 where they are not known.
    """

    log_x: Array
    log_y: Array
    cluster: Codes
    group: Codes
    weight: Array
    error: Array

    @property
    def n_configurations(self) -> int:
        return len(np.unique(self.cluster))

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
    return Cells(np.column_stack([mean(x) for x in log_x.T]), mean(log_y), own, group[first], weight, of_mean)
