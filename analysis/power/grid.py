"""A planned grid: its configurations in N and D, what a run of each costs, and how many seeds it has."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.columns import Array


@dataclass(frozen=True)
class Grid:
    """The configurations of one family.

    n_params N, n_samples (unique images), samples_seen D, flops (of one run): (G,) each; seeds: runs of each.
    """

    n_params: Array
    n_samples: Array
    samples_seen: Array
    flops: Array
    seeds: int = 1

    @classmethod
    def of_runs(cls, n_params: Array, n_samples: Array, samples_seen: Array, flops: Array) -> Grid:
        """The grid of single runs (n,): those alike in all four are seeds of one configuration.

        seeds: the fewest runs that a configuration has.
        """
        runs = np.column_stack([n_params, n_samples, samples_seen, flops]).astype(np.float64)
        found, count = np.unique(runs, axis=0, return_counts=True)
        N, n, D, C = found.T
        return cls(N, n, D, C, int(count.min()))

    def __len__(self) -> int:
        return len(self.n_params)

    @property
    def cost(self) -> float:
        """FLOP of all runs."""
        return float(self.seeds * self.flops.sum())

    def with_seeds(self, more: int = 1) -> Grid:
        return replace(self, seeds=self.seeds + more)

    def with_size(self, n_params: float) -> Grid:
        """With one more model of `n_params`, at every data size; C a sample is read off those beside it."""
        near = self._nearest(self.n_params, n_params)
        c = self._flops_a_sample(n_params)
        rows = np.column_stack([
            np.full(near.sum(), n_params), self.n_samples[near], self.samples_seen[near], c * self.samples_seen[near],
        ])  # fmt: skip
        return self._joined(rows)

    def with_data_size(self, n_samples: float) -> Grid:
        """With one more data size, of `n_samples` unique images, for every model; epochs as of the nearest."""
        near = self._nearest(self.n_samples, n_samples)
        share = n_samples / self.n_samples[near]
        rows = np.column_stack([
            self.n_params[near], np.full(near.sum(), n_samples), share * self.samples_seen[near],
            share * self.flops[near],
        ])  # fmt: skip
        return self._joined(rows)

    def _nearest(self, x: Array, value: float) -> Array:
        """Which configurations stand at the x nearest to a value, in logarithms."""
        distinct = np.unique(x)
        return np.asarray(x == distinct[np.argmin(np.abs(np.log(distinct / value)))])

    def _flops_a_sample(self, n_params: float) -> float:
        """FLOP a sample of a model of another size: ln c is linear in ln N between sizes, c ~ N beyond them."""
        sizes, at = np.unique(self.n_params, return_index=True)
        c = self.flops[at] / self.samples_seen[at]
        inside = float(np.clip(n_params, sizes[0], sizes[-1]))
        return float(np.exp(np.interp(np.log(inside), np.log(sizes), np.log(c))) * n_params / inside)

    def _joined(self, rows: Array) -> Grid:
        mine = np.column_stack([self.n_params, self.n_samples, self.samples_seen, self.flops])
        N, n, D, C = np.concatenate([mine, rows]).T
        return Grid(N, n, D, C, self.seeds)
