"""A benchmark of several subjects: each scored by its own units, one layer for all, the score their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from scaling.alignment.benchmark import AlignmentResult, Benchmark
from scaling.alignment.commitment import Commitment, LayerEvaluation
from scaling.alignment.metrics.ceilings import Convention, ceiled_score, ceiling_for
from scaling.alignment.metrics.error_bars import nan_median
from scaling.alignment.metrics.mapping_sizes import MappingSizes, Subset
from scaling.alignment.metrics.spatial import choose_on_others
from scaling.alignment.metrics.subjects import SubjectEvaluation
from scaling.alignment.metrics.unit_draws import (
    FEWEST,
    centred,
    speaks_of,
    spread_of_new,
    subject_draws,
    two_level_interval,
)
from scaling.alignment.numerics import Array
from scaling.errors import StudyError

MIN_CEILING = 0.1**0.5  # of units that a mean of r/c is taken over: 10 % explainable variance (Gokce et al. 2026)

Evaluations = dict[str, list[SubjectEvaluation]]  # layer → one a part


class SubjectScore(NamedTuple):
    """One subject's: raw and ceiling over its units, and what they make by the benchmark's convention."""

    raw: float
    ceiling: float | None
    score: float
    n_neuroids: int


class _Choice(NamedTuple):
    """A layer, what is scored of each part, the raw it was chosen by, and the leak."""

    layer: str
    scored: list[SubjectEvaluation]
    selection_raw: float | None
    leak: float | None


@dataclass(frozen=True, eq=False)
class PooledBenchmark:
    """Recordings of one region in several subjects, or in several sessions of them, each with its own stimuli.

    With a fixed split the layer is the one of highest raw over folds inside the training stimuli, mean over subjects,
    and is scored on the test stimuli, which no choice has seen. Without, every fold is scored with the layer that is
    best over the other folds, and `layer` is the one used most often. The mapping is fitted on all training stimuli.

    A subject's raw is the median over its units, of all its sessions, and the mean over splits; raw, ceiling and score
    are means over subjects, so that the score is not raw and ceiling by the convention, but the mean of the subjects'.
    By the convention 'mean r/c' a subject's raw is the mean over the units that have a ceiling of MIN_CEILING or more.

    Attributes:
        parts: one a subject or session; they share name, region, metric, ceiling and the number of splits.

    Raises:
        StudyError: at construction, no parts, or parts that differ in what they share.
    """

    parts: tuple[Benchmark, ...]

    def __post_init__(self) -> None:
        alike = {(p.name, p.region, p.metric, p.ceiling_kind, p.ceiled, len(p.assembly.splits)) for p in self.parts}
        fixed = {part.assembly.test is not None for part in self.parts}
        if len(alike) != 1 or len(fixed) != 1:
            names = ", ".join(sorted({part.key for part in self.parts})) or "none"
            raise StudyError(f"benchmark of several subjects: parts differ in metric, ceiling or splits: {names}")
        keys = [part.key for part in self.parts]
        if len(set(keys)) != len(keys):
            raise StudyError(f"benchmark {self.name}: two parts are called {keys[0]}; give each its own")

    @property
    def first(self) -> Benchmark:
        return self.parts[0]

    @property
    def name(self) -> str:
        return self.first.name

    @property
    def region(self) -> str:
        return self.first.region

    @property
    def metric(self) -> str:
        return self.first.metric

    @property
    def ceiling_kind(self) -> str:
        return self.first.ceiling_kind

    @property
    def ceiled(self) -> Convention:
        return self.first.ceiled

    @property
    def n_stimuli(self) -> int:
        """Distinct stimuli that are scored."""
        sets = {id(p.stimuli): sum(len(split.test) for split in p.assembly.splits) for p in self.parts}
        return sum(sets.values())

    @cached_property
    def subjects(self) -> dict[str, list[int]]:
        """Subject → its parts."""
        found: dict[str, list[int]] = {}
        for i, part in enumerate(self.parts):
            found.setdefault(part.assembly.subject, []).append(i)
        return found

    def with_convention(self, ceiled: Convention) -> PooledBenchmark:
        return PooledBenchmark(tuple(replace(part, ceiled=ceiled) for part in self.parts))

    def with_sizes(self, sizes: MappingSizes) -> PooledBenchmark:
        """With scores of mappings on fewer training stimuli too.

        Raises:
            StudyError: more than there are.
        """
        trained = [min(len(split.train) for split in part.assembly.splits) for part in self.parts]
        for part, n_train in zip(self.parts, trained, strict=True):
            try:
                sizes.subsets(n_train)
            except StudyError as error:
                raise StudyError(f"benchmark {part.key}: {error}") from error
        if len(set(trained)) > 1:
            sizes = replace(sizes, common=min(trained))
        return PooledBenchmark(
            tuple(replace(part, assembly=replace(part.assembly, sizes=sizes)) for part in self.parts)
        )

    def commit(
        self, found: Mapping[str, Mapping[str, LayerEvaluation]], commitment: Commitment, resamples: int = 200
    ) -> AlignmentResult:
        """The score of one layer for all subjects.

        Args:
            found: part → layer → evaluation.

        Raises:
            StudyError: no layer that all parts were evaluated on; responses that are constant.
        """
        evaluations = self._by_layer(found)
        layer_scores = {layer: self._mean(e) for layer, e in evaluations.items()}
        choice = self._choose(evaluations, layer_scores, commitment)
        scores = self._subject_scores(choice.scored)
        draws = self._draws(choice.scored, resamples) if resamples else None
        interval = None if draws is None else two_level_interval(draws, len(scores))
        known = [score.ceiling for score in scores.values() if score.ceiling is not None]
        fixed = commitment.fixed(self.name, self.region)
        return AlignmentResult(
            benchmark=self.name,
            region=self.region,
            metric=self.metric,
            layer=choice.layer,
            commitment=commitment.name if fixed or commitment.scored_on == "all" else "folds",
            raw=float(np.mean([score.raw for score in scores.values()])),
            raw_error=None if draws is None else float(draws.std() * spread_of_new(len(scores))),
            raw_low=interval[0] if interval else None,
            raw_high=interval[1] if interval else None,
            ceiling=float(np.mean(known)) if known else None,
            ceiling_kind=self.first.ceiling_kind,
            ceiled=self.ceiled,
            score=float(np.mean([score.score for score in scores.values()])),
            n_stimuli=self.n_stimuli,
            n_neuroids=sum(score.n_neuroids for score in scores.values()),
            selection_raw=choice.selection_raw,
            selection_leak=choice.leak,
            layer_scores=layer_scores,
            n_subjects=len(scores),
            subject_scores={name: score._asdict() for name, score in scores.items()},
            interval_of=speaks_of(len(scores), list(scores), "stimuli and units") if interval else None,
            mapping_samples=min(len(split.train) for e in choice.scored for split in e.splits),
            mapping_curve=self._curve(evaluations[choice.layer]),
            draws=None if draws is None else [float(draw) for draw in draws],
        )

    def _by_layer(self, found: Mapping[str, Mapping[str, LayerEvaluation]]) -> Evaluations:
        of_parts = [found[part.key] for part in self.parts]
        layers = [layer for layer in of_parts[0] if all(layer in part for part in of_parts)]
        if not layers:
            raise StudyError(f"benchmark {self.name}: no layer is known for all of its {len(self.parts)} recordings")
        return {layer: [_evaluation(part[layer]) for part in of_parts] for layer in layers}

    def _choose(self, of: Evaluations, scores: Mapping[str, float], commitment: Commitment) -> _Choice:
        best = max(scores, key=scores.__getitem__)
        if commitment.fixed(self.name, self.region) is not None or commitment.scored_on == "all":
            return _Choice(best, of[best], None, None)
        if self.first.assembly.test is None:
            return self._choose_by_fold(of, best)
        inner = {layer: self._mean_inner(e) for layer, e in of.items()}
        layer = max(inner, key=inner.__getitem__)
        return _Choice(layer, of[layer], inner[layer], scores[best] - scores[layer])

    def _choose_by_fold(self, of: Evaluations, best: str) -> _Choice:
        """Each fold with the layer that is best over the others."""
        layers, folds = list(of), np.stack([self._fold_means(e) for e in of.values()])
        chosen, selection = choose_on_others(folds)
        most = layers[int(np.bincount(chosen).argmax())]
        scored = list(of[most])
        for fold, number in enumerate(chosen):
            scored = [e.with_fold(fold, other) for e, other in zip(scored, of[layers[number]], strict=True)]
        leak = float(folds[layers.index(best)].mean() - folds[chosen, np.arange(folds.shape[1])].mean())
        return _Choice(most, scored, float(selection.mean()), leak)

    def _pooled(self, parts: Sequence[Array]) -> list[Array]:
        """(..., n_units) arrays of the parts → one a subject."""
        return [np.concatenate([parts[i] for i in own], axis=-1) for own in self.subjects.values()]

    @cached_property
    def _ceilings(self) -> list[Array] | None:
        """(n_rows, n_units) a subject."""
        if self.first.ceiling_kind == "none":
            return None
        of_parts = self._pooled([part.assembly.fold_ceilings(part.ceiling_kind) for part in self.parts])
        return [ceiling_for(rows, self.first.ceiling_kind, self.ceiled) for rows in of_parts]

    @cached_property
    def _kept(self) -> list[Array]:
        """Which units of each subject count."""
        n_units = [x.shape[-1] for x in self._pooled([part.assembly.responses[:1] for part in self.parts])]
        if self.ceiled != "mean r/c" or self._ceilings is None:
            return [np.ones(n, dtype=bool) for n in n_units]
        return [np.nan_to_num(rows.mean(axis=0)) >= MIN_CEILING for rows in self._ceilings]

    def _over_units(self, values: Sequence[Array]) -> Array:
        """(n_subjects, ...) median over the units that count, or their mean."""
        summary = nan_mean if self.ceiled == "mean r/c" else nan_median
        return np.stack([summary(x[..., kept]) for x, kept in zip(values, self._kept, strict=True)])

    def _fold_means(self, parts: Sequence[SubjectEvaluation]) -> Array:
        """(n_splits,) over units, then mean over subjects."""
        folds = self._over_units(self._pooled([e.correlations for e in parts])).mean(axis=0)
        if np.isnan(folds).any():
            raise StudyError(f"benchmark {self.name}: a split's responses are constant; nothing to explain")
        return folds

    def _mean(self, parts: Sequence[SubjectEvaluation]) -> float:
        return float(self._fold_means(parts).mean())

    def _mean_inner(self, parts: Sequence[SubjectEvaluation]) -> float:
        return float(self._over_units(self._pooled([_inner(e) for e in parts])).mean())

    def _subject_scores(self, parts: Sequence[SubjectEvaluation]) -> dict[str, SubjectScore]:
        return self._scored(self._pooled([e.correlations for e in parts]))

    def _scored(self, r: Sequence[Array]) -> dict[str, SubjectScore]:
        """Of (n_splits, n_units) correlations a subject."""
        raws = self._over_units(r).mean(axis=1)
        found = {}
        for i, name in enumerate(self.subjects):
            ceiling, score = self._ceiled(i, float(raws[i]), r[i])
            found[name] = SubjectScore(float(raws[i]), ceiling, score, int(self._kept[i].sum()))
        return found

    def _ceiled(self, subject: int, raw: float, r: Array) -> tuple[float | None, float]:
        if self._ceilings is None:
            return None, raw
        rows, kept = self._ceilings[subject], self._kept[subject]
        if not kept.any():
            raise StudyError(
                f"benchmark {self.name}: no unit of subject {list(self.subjects)[subject]!r} has a ceiling of "
                f"{MIN_CEILING:.2f}; leave the subject out, or choose another convention"
            )
        if self.ceiled == "mean r/c":
            ceilings = rows.mean(axis=0)[kept]
            return float(ceilings.mean()), float(np.mean(nan_mean(r.T[kept]) / ceilings))
        ceiling = float(nan_median(rows).mean())
        return ceiling, ceiled_score(raw, ceiling, self.ceiled)

    def _draws(self, parts: Sequence[SubjectEvaluation], resamples: int) -> Array:
        """(n_resamples,) two-level draws of raw; of one or two subjects, of their stimuli and units."""
        few = len(self.subjects) < FEWEST
        draws = [e.unit_draws(resamples, self.first.seed, units=few) for e in parts]
        means = np.nanmean(self._over_units(self._pooled(draws)), axis=1)  # over splits
        raws = np.array([score.raw for score in self._subject_scores(parts).values()])
        return subject_draws(centred(means, raws), self.first.seed)

    def _curve(self, parts: Sequence[SubjectEvaluation]) -> list[dict[str, object]] | None:
        """The scores of smaller mappings of the named layer."""
        if parts[0].curve is None:
            return None
        return [self._on_curve(subset, [(e.curve or {})[subset] for e in parts]) for subset in parts[0].curve]

    def _on_curve(self, subset: Subset, r: Sequence[Array]) -> dict[str, object]:
        scores = self._scored(self._pooled([part[None] for part in r]))
        means = {field: float(np.mean([getattr(s, field) for s in scores.values()])) for field in ("raw", "score")}
        subjects = {name: score.score for name, score in scores.items()}
        return {"mapping_samples": subset.n, "seed": subset.seed, **means, "subjects": subjects}


AnyBenchmark = Benchmark | PooledBenchmark


def _evaluation(evaluation: LayerEvaluation) -> SubjectEvaluation:
    assert isinstance(evaluation.everything, SubjectEvaluation)
    return evaluation.everything


def _inner(evaluation: SubjectEvaluation) -> Array:
    assert evaluation.inner is not None
    return evaluation.inner


def nan_mean(values: Array) -> Array:
    """Mean over the last axis of the values that are not NaN; NaN where all are."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
