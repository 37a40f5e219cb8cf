"""Nested subsets of the training stimuli: the number of recorded stimuli as an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from scaling.alignment.metrics.splits import Index
from scaling.errors import StudyError


class Subset(NamedTuple):
    """The first so many of a seeded order of the training stimuli."""

    n: int
    seed: int


@dataclass(frozen=True)
class MappingSizes:
    """How many training stimuli the mapping is fitted on, and how many orders of them are tried.

    The first n of `default_rng(seed).permutation(n_train)`: nested over n, the same for all models, regions, and
    subjects with as many training stimuli. common: where recordings that are scored together have unequal numbers of
    training stimuli, the least of them, which is then a size too: all stimuli of each would be no one number.

    Source: Gokce, Tang & Schrimpf (2026), ICML: `data_pct` of the training stimuli.
    """

    samples: tuple[int | Literal["all"], ...]
    seeds: int
    common: int | None = None

    def subsets(self, n_train: int) -> list[Subset]:
        """All of them but all training stimuli, which is one and the same for every seed (but see `common`).

        Raises:
            StudyError: more than there are.
        """
        given = [n for n in self.samples if n != "all"]
        beyond = [n for n in given if n > n_train]
        if beyond:
            raise StudyError(
                f"mapping.samples={beyond[0]:,} exceeds the {n_train:,} training stimuli; lower it, or write 'all'"
            )
        sizes = {n for n in given if n < n_train} if self.common is None else {*given, self.common}
        return [Subset(n, seed) for n in sorted(sizes) for seed in range(self.seeds)]

    def choose(self, train: Index, subset: Subset) -> Index:
        """The training stimuli of a subset, in ascending order."""
        order = np.random.default_rng(subset.seed).permutation(len(train))
        return np.sort(train[order[: subset.n]])
