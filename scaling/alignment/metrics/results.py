"""One layer on one assembly: what it scores, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.metrics.error_bars import SplitScore, bootstrap_draws, split_score
from scaling.alignment.metrics.rsa import RsaKind, rsa
from scaling.alignment.metrics.rsa_draws import bootstrap_mean_rsa, bootstrap_subject_rsa
from scaling.alignment.metrics.splits import StimulusSplit, split_correlations
from scaling.alignment.metrics.two_way_draws import two_way_draws
from scaling.alignment.metrics.unit_draws import centred, subject_draws
from scaling.alignment.numerics import Array

CeilingKind = Literal[
    "split_half",
    "brain_score",
    "subjects",
    "single_subject",
    "between_subjects",
    "halves",
    "neuroids",
    "published",
    "assumed_noise",
    "none",
]
Needs = Literal["representation", "maps", "saliency", "choices"]
Index = NDArray[np.intp]
Strata = NDArray[Any] | None


class Evaluation(Protocol):
    """A layer on an assembly: `raw` and its standard error over splits, NaN where there is nothing to explain.

    ceiled: the ceiled score where the metric ceils each split by itself, else None. subjects: raw of each subject,
    in the order of the assembly, where the target is each of them; None where it is their mean, or there are none.
    n_subjects: those that draws resample. n_fitted: stimuli that a mapping was fitted on, None where there is none.
    """

    @property
    def raw(self) -> float: ...

    @property
    def error(self) -> float | None: ...

    @property
    def ceiled(self) -> float | None: ...

    @property
    def subjects(self) -> Array | None: ...

    @property
    def n_subjects(self) -> int | None: ...

    @property
    def n_fitted(self) -> int | None: ...

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        """(n_resamples,) raw in bootstrap draws, centred on raw; None where the metric has none.

        A function of seed, stimuli and neuroids alone: those of two models are paired.
        """


@dataclass(frozen=True)
class EvaluationBase:
    """What most evaluations do not have."""

    @property
    def error(self) -> float | None:
        return None

    @property
    def ceiled(self) -> float | None:
        return None

    @property
    def subjects(self) -> Array | None:
        return None

    @property
    def n_subjects(self) -> int | None:
        return None

    @property
    def n_fitted(self) -> int | None:
        return None


@dataclass(frozen=True, eq=False)
class MappingEvaluation(EvaluationBase):
    """Held-out predictions of a regression. raw: median over neuroids of Pearson r, mean over splits."""

    predictions: Sequence[Array]
    responses: Array
    splits: Sequence[StimulusSplit]

    @cached_property
    def _score(self) -> SplitScore:
        return split_score(split_correlations(self.predictions, self.responses, self.splits))

    @property
    def raw(self) -> float:
        return self._score.score

    @property
    def error(self) -> float | None:
        return self._score.error

    @property
    def n_fitted(self) -> int | None:
        return min(len(split.train) for split in self.splits)

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        return two_way_draws(self.predictions, self.responses, self.splits, self.raw, n_resamples, seed)


def standard_error(of: Evaluation, draws: Array | None) -> float | None:
    """Of a mapping, how its draws vary: its splits share training stimuli, so that their spread is too small."""
    return float(np.nanstd(draws)) if draws is not None and isinstance(of, MappingEvaluation) else of.error


@dataclass(frozen=True, eq=False)
class RDMEvaluation(EvaluationBase):
    """A model's RDM against the mean of RDMs (n_subjects, n_stimuli, n_stimuli)."""

    model: Array
    targets: Array
    kind: RsaKind

    @cached_property
    def raw(self) -> float:
        return rsa(self.model, self.targets.mean(axis=0), self.kind)

    @property
    def n_subjects(self) -> int | None:
        return len(self.targets)

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        if self.kind not in ("spearman", "pearson"):
            return None  # the whitening does not hold between copies of a stimulus
        draws = bootstrap_mean_rsa(self.model, self.targets, self.kind, n_resamples, seed)
        return centred(draws[None], np.array([self.raw]))[0]


@dataclass(frozen=True, eq=False)
class SubjectRDMEvaluation(EvaluationBase):
    """A model's RDM against each subject's by Spearman's rho. raw: their mean."""

    model: Array
    targets: Array

    @cached_property
    def subjects(self) -> Array:
        return np.array([rsa(self.model, target) for target in self.targets])

    @property
    def raw(self) -> float:
        return float(self.subjects.mean())

    @property
    def n_subjects(self) -> int | None:
        return len(self.targets)

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        draws = bootstrap_subject_rsa(self.model, self.targets, n_resamples, seed)
        return subject_draws(centred(draws, self.subjects), seed)


@dataclass(frozen=True)
class PlainEvaluation(EvaluationBase):
    """A number with an error over its repetitions, or none."""

    raw: float
    of_splits: float | None = None
    by_split: float | None = None

    @property
    def error(self) -> float | None:
        return self.of_splits

    @property
    def ceiled(self) -> float | None:
        return self.by_split

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        return None


@dataclass(frozen=True, eq=False)
class FoldEvaluation(EvaluationBase):
    """A score for each stimulus, held out in turn. raw: their mean, error: std (ddof 0) / √n."""

    folds: Array

    @property
    def raw(self) -> float:
        return float(self.folds.mean())

    @property
    def error(self) -> float | None:
        return float(self.folds.std() / np.sqrt(len(self.folds)))

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        """Over stimuli; the fits and the choice of the layer stay as they are."""
        draws, _ = bootstrap_draws((len(self.folds), 1), n_resamples, seed)
        return np.asarray(self.folds[draws].mean(axis=1))


@dataclass(frozen=True, eq=False)
class StatisticEvaluation(EvaluationBase):
    """A statistic of trials on n stimuli, of each subject or of all: indices of stimuli → (n_subjects,)."""

    statistic: Callable[[Index], Array]
    n_stimuli: int
    by_subject: bool

    @cached_property
    def _values(self) -> Array:
        return self.statistic(np.arange(self.n_stimuli))

    @property
    def raw(self) -> float:
        return float(self._values.mean())

    @property
    def subjects(self) -> Array | None:
        return self._values if self.by_subject else None

    @property
    def n_subjects(self) -> int | None:
        return len(self._values) if self.by_subject else None

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        stimuli, _ = bootstrap_draws((self.n_stimuli, 1), n_resamples, seed)
        draws = centred(np.stack([self.statistic(draw) for draw in stimuli], axis=1), self._values)
        return subject_draws(draws, seed) if self.by_subject else draws[0]
