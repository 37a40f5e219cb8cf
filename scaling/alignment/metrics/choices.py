"""People's choices against a model's own: distributions over classes, errors, and which cue they follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.metrics.behavior import error_consistency
from scaling.alignment.metrics.categories import CATEGORIES, CategoryMap
from scaling.alignment.metrics.ceilings import spearman_brown
from scaling.alignment.metrics.results import CeilingKind, Evaluation, Index, Needs, StatisticEvaluation, Strata
from scaling.alignment.metrics.rsa import ranks
from scaling.alignment.numerics import Array, pearson
from scaling.errors import StudyError

Mask = NDArray[np.bool_]
WRONG, UNSEEN = -1, -2
N_HALVINGS, HALVING_SEED = 20, 0  # of people's judgments; assumption: their spread is far below that of models


@dataclass(frozen=True, eq=False)
class Judgments:
    """How often people chose each class on each image, and the class that it is: (n_images, n_classes), (n_images,)."""

    counts: Array
    truth: Index

    @cached_property
    def halves(self) -> list[tuple[Array, Array]]:
        """See `halve`; drawn once for all ceilings."""
        return halve(self.counts)


@dataclass(frozen=True, eq=False)
class Decisions:
    """One choice a person of each image, among CATEGORIES.

    Attributes:
        choices: (n_people, n_images) positions among CATEGORIES; WRONG where a person answered nothing, which counts as
            an error, UNSEEN where the image was not shown to that person. truth: (n_images,).
        texture: (n_images,) the category of the other cue, where there is one. condition: (n_images,) under which an
            image was shown; errors are compared within conditions, whose difficulties differ. None: there is one.
        classes: which of a model's classes stand for which category.
    """

    choices: Index
    truth: Index
    classes: CategoryMap
    texture: Index | None = None
    condition: Index | None = None

    def conditions(self, index: Index) -> list[Index]:
        """The images of each condition, of some of all images."""
        if self.condition is None:
            return [index]
        own = self.condition[index]
        return [index[own == condition] for condition in np.unique(own)]


def halve(counts: Array, n_halvings: int = N_HALVINGS, seed: int = HALVING_SEED) -> list[tuple[Array, Array]]:
    """Random halves of the judgments of each image, without replacement; an odd one falls to the second."""
    rng = np.random.default_rng(seed)
    whole = counts.astype(np.int64)
    halves = []
    for _ in range(n_halvings):
        half = np.stack([rng.multivariate_hypergeometric(row, int(row.sum()) // 2) for row in whole])
        halves.append((half.astype(np.float64), (whole - half).astype(np.float64)))
    return halves


def shares(counts: Array) -> Array:
    """Counts over their sum, image by image."""
    return counts / counts.sum(axis=1, keepdims=True)


def entropy(counts: Array) -> float:
    """Mean over images of the entropy of the shares, in nats: biased below the truth's, by a term in 1 / judgments."""
    p = shares(counts)
    return float(-np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0), axis=1).mean())


def explained(probabilities: Array, judgments: Judgments, index: Index) -> Array:
    """`(e^−H − 1/C) / (1 − 1/C)`, H the cross-entropy of people's shares and the model's: see `above_chance`."""
    p = np.maximum(probabilities[index], np.finfo(np.float64).tiny)
    cross = -np.sum(shares(judgments.counts[index]) * np.log(p), axis=1).mean()
    return np.array([above_chance(float(cross), p.shape[1])])


def above_chance(cross_entropy: float, n_classes: int) -> float:
    """The geometric mean of the probabilities of what people chose, e^−H, from chance (0) to certainty shared (1).

    Bounded, so that a model that is sure of what nobody chose does not outweigh all others.
    """
    return float((np.exp(-cross_entropy) - 1.0 / n_classes) / (1.0 - 1.0 / n_classes))


def confusions(values: Array, truth: Index) -> Array:
    """(C · (C − 1),) mean share of each wrong class over the images of each class."""
    members = (truth == np.arange(values.shape[1])[:, None]).astype(np.float64)
    means = members @ values / np.maximum(members.sum(axis=1, keepdims=True), 1.0)
    return means[~np.eye(len(means), dtype=bool)]


def confusion_correlation(first: Array, second: Array, truth: Index) -> float:
    """Pearson r of two observers' off-diagonal confusions."""
    return float(pearson(confusions(first, truth)[:, None], confusions(second, truth)[:, None])[0])


def errors(values: Array, truth: Index) -> Array:
    """(n_images,) share of everything but the truth."""
    return 1.0 - values[np.arange(len(values)), truth]


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's rho."""
    return float(pearson(ranks(first)[:, None], ranks(second)[:, None])[0])


@dataclass(frozen=True)
class _Choices:
    """What all metrics of a model's own choices share."""

    needs: ClassVar[Needs] = "choices"
    min_stimuli: ClassVar[int] = 20

    def n_neuroids(self, assembly: Any) -> int | None:
        return None


@dataclass(frozen=True)
class JudgmentMetric(_Choices):
    """Assemblies are `Judgments`. agree: (model's probabilities, judgments, images) → (1,); halved: of two halves."""

    agree: Callable[[Array, Judgments, Index], Array]
    halved: Callable[[Judgments], float]

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if not isinstance(assembly, Judgments) or assembly.counts.shape[:1] != (n_stimuli,):
            return f"of {type(assembly).__name__}; give Judgments on {n_stimuli} stimuli"
        few = int(np.count_nonzero(assembly.counts.sum(axis=1) < 2))
        return f"with {few} images of fewer than 2 judgments; drop them" if few else None

    def n_repetitions(self, assembly: Any) -> int:
        return 2  # the halves

    def take(self, assembly: Any, index: Index) -> Any:
        return Judgments(assembly.counts[index], assembly.truth[index])

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return self.halved(assembly)

    def evaluate(self, rep: Any, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        return [self._evaluate(np.asarray(rep), assembly) for assembly in assemblies]

    def _evaluate(self, probabilities: Array, assembly: Judgments) -> Evaluation:
        if probabilities.shape != assembly.counts.shape:
            raise StudyError(
                f"choices: a model of {probabilities.shape[1]} classes, people chose among {assembly.counts.shape[1]}; "
                "score a model that is trained on those classes"
            )
        return StatisticEvaluation(partial(self.agree, probabilities, assembly), len(probabilities), by_subject=False)


def explained_ceiling(of: Judgments) -> float:
    """Of the people's own entropy: twice that of all judgments less that of halves, which takes the bias off."""
    halves = np.mean([entropy(half) for pair in of.halves for half in pair])
    return above_chance(float(2.0 * entropy(of.counts) - halves), of.counts.shape[1])


def confusion_agreement(probabilities: Array, of: Judgments, index: Index) -> Array:
    truth = of.truth[index]
    return np.array([confusion_correlation(probabilities[index], shares(of.counts[index]), truth)])


def confusion_ceiling(of: Judgments) -> float:
    r = np.mean([confusion_correlation(shares(a), shares(b), of.truth) for a, b in of.halves])
    return float(np.sqrt(np.maximum(spearman_brown(r), 0.0)))


def error_agreement(probabilities: Array, of: Judgments, index: Index) -> Array:
    truth = of.truth[index]
    return np.array([rank_correlation(errors(probabilities[index], truth), errors(shares(of.counts[index]), truth))])


def error_ceiling(of: Judgments) -> float:
    r = [rank_correlation(errors(shares(a), of.truth), errors(shares(b), of.truth)) for a, b in of.halves]
    return float(np.sqrt(np.maximum(spearman_brown(np.mean(r)), 0.0)))


@dataclass(frozen=True)
class DecisionMetric(_Choices):
    """Assemblies are `Decisions`. agree: (model's categories, decisions, images) → (n_people,); people: their own."""

    agree: Callable[[Index, Decisions, Index], Array]
    people: Callable[[Decisions], float]
    by_subject: bool = True

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if not isinstance(assembly, Decisions) or assembly.choices.shape[1:] != (n_stimuli,):
            return f"of {type(assembly).__name__}; give Decisions on {n_stimuli} stimuli"
        return None

    def n_repetitions(self, assembly: Any) -> int:
        return len(assembly.choices)

    def take(self, assembly: Any, index: Index) -> Any:
        texture, condition = (None if x is None else x[index] for x in (assembly.texture, assembly.condition))
        return Decisions(assembly.choices[:, index], assembly.truth[index], assembly.classes, texture, condition)

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return self.people(assembly)

    def evaluate(self, rep: Any, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        return [self._evaluate(np.asarray(rep), assembly) for assembly in assemblies]

    def _evaluate(self, probabilities: Array, assembly: Decisions) -> Evaluation:
        chosen = assembly.classes.of(probabilities.shape[1]).decide(probabilities)
        return StatisticEvaluation(partial(self.agree, chosen, assembly), len(chosen), self.by_subject)


def model_kappa(chosen: Index, of: Decisions, index: Index) -> Array:
    """(n_people,) Cohen's κ of the model's errors with each person's, mean over conditions.

    Over the images that the person was shown; 0 where neither or both always err: no errors in common.
    """
    found = []
    for part in of.conditions(index):
        truth, people = of.truth[part], of.choices[:, part]
        found.append(_kappa(chosen[part] == truth, people == truth, people != UNSEEN))
    return np.nan_to_num(_mean_where_there(np.stack(found)))


def human_kappa(of: Decisions) -> float:
    """Mean κ over conditions and all pairs of people, over the images that both were shown."""
    found = []
    for part in of.conditions(np.arange(len(of.truth))):
        right, there = of.choices[:, part] == of.truth[part], of.choices[:, part] != UNSEEN
        found += [_kappa(right[i], right[:i], there[i] & there[:i]) for i in range(1, len(right))]
    return float(_mean_where_there(np.concatenate(found)))


def _kappa(first: Mask, second: Mask, both: Mask) -> Array:
    """κ; 0 where there are no errors to compare, NaN where there are no images."""
    kappa = error_consistency(first, second, both).kappa
    return np.where(both.any(axis=-1), np.nan_to_num(kappa), np.nan)


def _mean_where_there(values: Array) -> Array:
    """Mean over the first axis of what is not NaN; NaN where all are."""
    there = ~np.isnan(values)
    total, count = np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def shape_bias(choices: Index, of: Decisions, index: Index) -> Array:
    """(1,) share of shape among choices of either cue's category; images whose cues agree do not count.

    0 where neither cue is ever followed. Source: Geirhos et al. (2019), ICLR.
    """
    assert of.texture is not None
    shape, texture = of.truth[index], of.texture[index]
    chosen, conflict = np.atleast_2d(choices)[:, index], shape != texture
    by_shape = int(np.count_nonzero((chosen == shape) & conflict))
    by_texture = int(np.count_nonzero((chosen == texture) & conflict))
    return np.array([by_shape / (by_shape + by_texture) if by_shape + by_texture else 0.0])


def human_shape_bias(of: Decisions) -> float:
    """Of all people's choices together."""
    return float(shape_bias(of.choices, of, np.arange(len(of.truth)))[0])


CHOICE_METRICS: dict[str, JudgmentMetric | DecisionMetric] = {
    "cross-entropy": JudgmentMetric(explained, explained_ceiling),
    "confusions": JudgmentMetric(confusion_agreement, confusion_ceiling),
    "errors": JudgmentMetric(error_agreement, error_ceiling),
    "error-consistency": DecisionMetric(model_kappa, human_kappa),
    "shape-bias": DecisionMetric(shape_bias, human_shape_bias, by_subject=False),
}
__all__ = ["CATEGORIES", "CHOICE_METRICS", "Decisions", "Judgments"]
