"""Which of three images is the odd one? A model's similarities against people's choices (Hebart et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.error_bars import bootstrap_draws, draw_counts
from scaling.alignment.metrics.results import CeilingKind, Evaluation, EvaluationBase, Index, Needs, Strata
from scaling.alignment.numerics import Array
from scaling.errors import StudyError

CHANCE = 1 / 3


@dataclass(frozen=True, eq=False)
class Triplets:
    """Three images a trial, the one that a person found odd last: (n_triplets, 3) positions among the stimuli.

    ceiling: how often people agree, as published.
    """

    images: Index
    ceiling: float


def agrees(similarity: Array, images: Index) -> Array:
    """(n_triplets,) 1 where the first two images of a triplet are the most similar pair, else 0; ties agree."""
    first, second, odd = images.T
    pair = similarity[first, second]
    return ((pair >= similarity[first, odd]) & (pair >= similarity[second, odd])).astype(np.float64)


def dot_products(rep: Representation) -> Array:
    """(n, n) dot products of the features, neither centred nor normalised."""
    return rep.kernel + rep.along_mean[:, None] + rep.along_mean[None, :] + rep.mean_square


@dataclass(frozen=True, eq=False)
class TripletEvaluation(EvaluationBase):
    """raw: the share of triplets on which the model's odd one is the person's. ceiled: see `OddOneOutMetric`."""

    agreed: Array
    triplets: Triplets
    n_stimuli: int

    @cached_property
    def raw(self) -> float:
        return float(self.agreed.mean())

    @property
    def ceiled(self) -> float | None:
        return (self.raw - CHANCE) / (self.triplets.ceiling - CHANCE)

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        """Over images, which triplets share: the share's first-order change with how often each image is drawn.

        With T triplets t of agreement y_t, image i moves the share by `Σ_{t ∋ i} (y_t − raw) / T` each time that it is
        drawn beyond once. Trials as independent would give an error many times too small.

        Source: Hájek's projection of a statistic of triples; Efron & Tibshirani (1993), chapter 22.
        """
        deviations = np.repeat(self.agreed - self.raw, 3) / len(self.agreed)
        influence = np.bincount(self.triplets.images.ravel(), deviations, self.n_stimuli)
        images, _ = bootstrap_draws((self.n_stimuli, 1), n_resamples, seed)
        return np.asarray(self.raw + (draw_counts(images) - 1.0) @ influence)


@dataclass(frozen=True)
class OddOneOutMetric:
    """Assemblies are `Triplets`. Of each the pair of largest dot product stays, and the third is the model's odd one.

    `score = (raw − 1/3) / (c − 1/3)`, c the published agreement of people: no split, no fit. Deviation: below chance
    the score keeps its sign, where Brain-Score has 0.

    Source: Hebart et al. (2023), eLife 12:e82580; brain-score/vision, Hebart2023-match.
    """

    needs: ClassVar[Needs] = "representation"
    min_stimuli: ClassVar[int] = 3

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if not isinstance(assembly, Triplets) or assembly.images.ndim != 2 or assembly.images.shape[1:] != (3,):
            return f"of {type(assembly).__name__}; give Triplets (n, 3) on {n_stimuli} stimuli"
        if not len(assembly.images):
            return "without triplets; give at least one"
        outside = (assembly.images < 0) | (assembly.images >= n_stimuli)
        repeated = (np.diff(np.sort(assembly.images, axis=1), axis=1) == 0).any(axis=1)
        bad = int(np.count_nonzero(outside.any(axis=1) | repeated))
        return f"with {bad:,} triplets that are not of three of the {n_stimuli:,} stimuli; drop them" if bad else None

    def n_repetitions(self, assembly: Any) -> int:
        return 2  # the people behind the published ceiling

    def n_neuroids(self, assembly: Any) -> int | None:
        return None

    def take(self, assembly: Any, index: Index) -> Any:
        if len(index) == 1 + int(index.max()):
            return assembly
        raise StudyError("triplets are of all stimuli, which are not halved; the layer is the readout's")

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return float(assembly.ceiling)

    def evaluate(self, rep: Representation, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        similarity = dot_products(rep)
        return [TripletEvaluation(agrees(similarity, one.images), one, len(rep)) for one in assemblies]
