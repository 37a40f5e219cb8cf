"""One layer on one assembly: what it scores, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.metrics.error_bars import (
    SplitScore,
    bootstrap_draws,
    bootstrap_interval,
    percentile_interval,
    rsa_interval,
    split_score,
)
from scaling.alignment.metrics.rsa import RsaKind, rsa
from scaling.alignment.metrics.splits import StimulusSplit, split_correlations
from scaling.alignment.numerics import Array

CeilingKind = Literal["split_half", "brain_score", "subjects", "neuroids", "published", "assumed_noise", "none"]
Needs = Literal["representation", "maps", "saliency"]
Interval = tuple[float, float]
Index = NDArray[np.intp]
Strata = NDArray[Any] | None


class Evaluation(Protocol):
    """A layer on an assembly: `raw` and its standard error over splits, NaN where there is nothing to explain.

    ceiled: the ceiled score where the metric ceils each split by itself, else None.
    """

    @property
    def raw(self) -> float: ...

    @property
    def error(self) -> float | None: ...

    @property
    def ceiled(self) -> float | None: ...

    def interval(self, n_resamples: int, seed: int) -> Interval | None:
        """95 % bootstrap interval of raw; None where the metric has none."""


@dataclass(frozen=True, eq=False)
class MappingEvaluation:
    """Held-out predictions of a regression. raw: median over neuroids of Pearson r, mean over splits."""

    predictions: Sequence[Array]
    responses: Array
    splits: Sequence[StimulusSplit]
    ceiled: float | None = None

    @cached_property
    def _score(self) -> SplitScore:
        return split_score(split_correlations(self.predictions, self.responses, self.splits))

    @property
    def raw(self) -> float:
        return self._score.score

    @property
    def error(self) -> float | None:
        return self._score.error

    def interval(self, n_resamples: int, seed: int) -> Interval | None:
        return bootstrap_interval(self.predictions, self.responses, self.splits, n_boot=n_resamples, seed=seed)


@dataclass(frozen=True, eq=False)
class RDMEvaluation:
    """A model's RDM against the mean RDM."""

    model: Array
    target: Array
    kind: RsaKind
    error: float | None = None
    ceiled: float | None = None

    @cached_property
    def raw(self) -> float:
        return rsa(self.model, self.target, self.kind)

    def interval(self, n_resamples: int, seed: int) -> Interval | None:
        if self.kind not in ("spearman", "pearson"):
            return None  # the whitening does not hold between copies of a stimulus
        return rsa_interval(self.model, self.target, self.kind, n_resamples, seed)


@dataclass(frozen=True)
class PlainEvaluation:
    """A number with an error over its repetitions, or none."""

    raw: float
    error: float | None = None
    ceiled: float | None = None

    def interval(self, n_resamples: int, seed: int) -> Interval | None:
        return None


@dataclass(frozen=True, eq=False)
class FoldEvaluation:
    """A score for each stimulus, held out in turn. raw: their mean, error: std (ddof 0) / √n."""

    folds: Array
    ceiled: float | None = None

    @property
    def raw(self) -> float:
        return float(self.folds.mean())

    @property
    def error(self) -> float | None:
        return float(self.folds.std() / np.sqrt(len(self.folds)))

    def interval(self, n_resamples: int, seed: int) -> Interval | None:
        """Over stimuli; the fits and the choice of the layer stay as they are."""
        draws, _ = bootstrap_draws((len(self.folds), 1), n_resamples, seed)
        return percentile_interval(self.folds[draws].mean(axis=1))
