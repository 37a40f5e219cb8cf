"""One subject's units, mapped and held out together: fixed splits, groups that stay whole, ceilings a unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics import ceilings
from scaling.alignment.metrics.error_bars import split_score
from scaling.alignment.metrics.mapping_sizes import MappingSizes, Subset
from scaling.alignment.metrics.results import CeilingKind, Evaluation, Index, Needs, Strata
from scaling.alignment.metrics.shared_ridge import SharedFit
from scaling.alignment.metrics.splits import MIN_HELD_OUT, StimulusSplit, k_folds, split_correlations
from scaling.alignment.metrics.unit_draws import fold_draws
from scaling.alignment.numerics import Array
from scaling.errors import StudyError

INNER_FOLDS = 5  # inside the training stimuli, by which layers are chosen (Gokce, Tang & Schrimpf 2026)
MOST_FOLDS = 10  # of a recording without a fixed split: as many as there are groups, up to this; assumption

Fit = Callable[[Array, StimulusSplit, Sequence[Index]], SharedFit]  # of responses, on one representation


@dataclass(frozen=True, eq=False)
class SubjectAssembly:
    """Responses of one subject's units to the stimuli of a set.

    Attributes:
        subject: whose; sessions of one subject are several assemblies of the same name.
        responses: (n_stimuli, n_units) mean over repetitions, finite.
        repetitions: (n_repetitions, n_scored, n_units) of the scored stimuli (those of `test`, or all), NaN where one
            is missing: what a ceiling is taken over. None: there are none.
        test: stimuli that are always held out; the others fit the mapping. None: folds.
        groups: (n_stimuli,) what must not be torn apart, such as the movie that a frame is of. None: every stimulus
            stands for itself.
        ceilings: (n_units,) √reliability of the scored responses, as published. noise: (n_units,) variance of the
            noise of `responses`, from which ceilings follow. Either, or none.
        sizes: further numbers of training stimuli to fit the mapping on; see `MappingSizes`.
    """

    subject: str
    responses: Array
    repetitions: NDArray[np.floating] | None = None
    test: Index | None = None
    groups: NDArray[Any] | None = None
    ceilings: Array | None = None
    noise: Array | None = None
    sizes: MappingSizes | None = None

    @cached_property
    def splits(self) -> list[StimulusSplit]:
        """The fixed split, or folds of whole groups.

        Raises:
            StudyError: too few stimuli or groups for folds.
        """
        n = len(self.responses)
        if self.test is not None:
            return [StimulusSplit(np.setdiff1d(np.arange(n), self.test), self.test)]
        return k_folds(n) if self.groups is None else group_folds(self.groups, MOST_FOLDS)

    def inner(self, train: Index) -> list[Index]:
        """Folds inside the training stimuli, as positions among them; whole groups where there are groups."""
        groups = None if self.groups is None else self.groups[train]
        folds = k_folds(len(train), INNER_FOLDS) if groups is None else group_folds(groups, INNER_FOLDS)
        return [fold.test for fold in folds]

    def fold_ceilings(self, kind: CeilingKind) -> Array | None:
        """(n_rows, n_units): √reliability in each fold's held-out stimuli; of 'brain_score' reliability a halving."""
        if kind == "none":
            return None
        if kind == "published":
            assert self.ceilings is not None
            return np.tile(self.ceilings, (len(self.splits), 1))
        if kind == "assumed_noise":
            assert self.noise is not None
            spread = np.stack([self.responses[split.test].var(axis=0, ddof=1) for split in self.splits])
            share = np.divide(self.noise, spread, out=np.ones_like(spread), where=spread > 0)
            return np.sqrt(np.maximum(1.0 - share, 0.0))
        assert self.repetitions is not None
        if kind == "brain_score":
            return ceilings.split_half_ceilings(self.repetitions)
        parts = [np.arange(len(self.test))] if self.test is not None else [split.test for split in self.splits]
        return np.stack([ceilings.neuroid_ceilings(self.repetitions[:, part]) for part in parts])


def group_folds(groups: NDArray[Any], most: int, seed: int = 0) -> list[StimulusSplit]:
    """Folds of whole groups: each alone where there are at most `most`, else dealt by size to as many folds.

    Raises:
        StudyError: fewer than 2 groups, or a fold of fewer than 4 stimuli.
    """
    names, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise StudyError(f"folds: {len(names)} group of stimuli; give at least 2, or no groups")
    folds: list[list[int]] = [[] for _ in range(min(most, len(names)))]
    for group in np.random.default_rng(seed).permutation(len(names))[np.argsort(-counts, kind="stable")]:
        min(folds, key=lambda fold: sum(counts[fold])).append(int(group))
    tests = [np.flatnonzero(np.isin(codes, fold)) for fold in folds]
    smallest = min(len(test) for test in tests)
    if smallest < MIN_HELD_OUT:
        raise StudyError(
            f"folds: {len(names)} groups in {len(folds)} folds leave {smallest} stimuli in one; needs at least "
            f"{MIN_HELD_OUT}: give larger groups"
        )
    return [StimulusSplit(np.setdiff1d(np.arange(len(codes)), test), test) for test in tests]


@dataclass(frozen=True, eq=False)
class SubjectEvaluation:
    """A layer on one subject's units. raw: median over units of r, mean over splits.

    Attributes:
        predictions: (n_test, n_units) a split. inner: (n_units,) mean r over the folds inside the training stimuli of
            the fixed split, or None where there is none. curve: further numbers of training stimuli → (n_units,) r.
    """

    predictions: Sequence[Array]
    responses: Array
    splits: Sequence[StimulusSplit]
    inner: Array | None = None
    curve: dict[Subset, Array] | None = None
    ceiled: float | None = None
    subjects: Array | None = None
    n_subjects: int | None = None

    @cached_property
    def correlations(self) -> Array:
        """(n_splits, n_units)"""
        return split_correlations(self.predictions, self.responses, self.splits)

    @property
    def raw(self) -> float:
        return split_score(self.correlations).score

    @property
    def error(self) -> float | None:
        return split_score(self.correlations).error

    @property
    def n_fitted(self) -> int | None:
        """Stimuli that the mapping is fitted on, of the smallest split."""
        return min(len(split.train) for split in self.splits)

    def unit_draws(self, n_resamples: int, seed: int, units: bool) -> Array:
        """(n_splits, n_resamples, n_units) r of bootstrap draws of the held-out stimuli (and of units)."""
        return fold_draws(self.predictions, self.responses, self.splits, n_resamples, seed, units)

    def draws(self, n_resamples: int, seed: int) -> Array | None:
        """None: what they speak of depends on the other subjects; see `PooledBenchmark`."""
        return None

    def with_fold(self, fold: int, other: SubjectEvaluation) -> SubjectEvaluation:
        """This one, but for one split that is another layer's."""
        predictions = list(self.predictions)
        predictions[fold] = other.predictions[fold]
        return replace(self, predictions=predictions)


@dataclass(frozen=True)
class SubjectMetric:
    """Assemblies are `SubjectAssembly`s. mapping: a representation → what fits responses on it, for all subjects that
    were shown the same stimuli: held-out predictions of a split, and of folds inside its training stimuli.
    """

    mapping: Callable[[Representation], Fit]
    needs: ClassVar[Needs] = "representation"
    min_stimuli: ClassVar[int] = 2 * MIN_HELD_OUT

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if not isinstance(assembly, SubjectAssembly):
            return f"of {type(assembly).__name__}; give a SubjectAssembly on {n_stimuli} stimuli"
        shape, n_units = assembly.responses.shape, assembly.responses.shape[-1]
        if len(shape) != 2 or shape[0] != n_stimuli or not n_units:
            return f"of shape {shape}; give ({n_stimuli} stimuli, units), at least one unit"
        if not np.isfinite(assembly.responses).all():
            return "with responses that are not finite; leave those units or stimuli out"
        test = assembly.test
        if test is not None and not 0 < len(test) < n_stimuli:
            return f"with {len(test)} of {n_stimuli} stimuli held out; leave some to fit, and hold some out"
        if assembly.groups is not None and test is not None:
            torn = np.intersect1d(assembly.groups[test], np.delete(assembly.groups, test))
            if len(torn):
                return f"with group {torn[0]!s} torn apart by its split; put whole groups on one side"
        n_scored = n_stimuli if test is None else len(test)
        if assembly.repetitions is not None and assembly.repetitions.shape[1:] != (n_scored, n_units):
            return f"with repetitions of shape {assembly.repetitions.shape}; give (n, {n_scored}, {n_units})"
        return None

    def n_repetitions(self, assembly: Any) -> int:
        if assembly.repetitions is None:
            return 0 if assembly.ceilings is None and assembly.noise is None else 2
        return len(assembly.repetitions)

    def n_neuroids(self, assembly: Any) -> int | None:
        return int(assembly.responses.shape[1])

    def take(self, assembly: Any, index: Index) -> Any:
        if len(index) == len(assembly.responses):
            return assembly
        raise StudyError("a subject's assembly has splits of its own and is not halved")

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        rows = assembly.fold_ceilings(kind)
        assert rows is not None
        return split_score(rows).score

    def evaluate(self, rep: Representation, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        fit = self.mapping(rep)
        return [_evaluate(fit, assembly) for assembly in assemblies]


def _evaluate(fit: Fit, of: SubjectAssembly) -> SubjectEvaluation:
    inner = of.inner(of.splits[0].train) if of.test is not None else []
    found = [fit(of.responses, split, inner) for split in of.splits]
    chosen = None if of.test is None else _inner_r(found[0].inner, of.responses[of.splits[0].train], inner)
    curve = None if of.sizes is None else _curve(fit, of, of.sizes)
    return SubjectEvaluation([one.predictions for one in found], of.responses, of.splits, chosen, curve)


def _curve(fit: Fit, of: SubjectAssembly, sizes: MappingSizes) -> dict[Subset, Array]:
    """r of mappings that are fitted on fewer of the training stimuli; one representation serves all."""
    found = {}
    for subset in sizes.subsets(min(len(split.train) for split in of.splits)):
        splits = [StimulusSplit(sizes.choose(split.train, subset), split.test) for split in of.splits]
        predictions = [fit(of.responses, split, []).predictions for split in splits]
        found[subset] = np.nanmean(split_correlations(predictions, of.responses, splits), axis=0)
    return found


def _inner_r(left_out: Sequence[Array], responses: Array, inner: Sequence[Index]) -> Array:
    """(n_units,) mean over inner folds of the held-out r."""
    splits = [StimulusSplit(np.setdiff1d(np.arange(len(responses)), part), part) for part in inner]
    r = split_correlations(left_out, responses, splits)
    return np.where(np.isnan(r).all(axis=0), np.nan, np.nanmean(np.where(np.isnan(r).all(axis=0), 0.0, r), axis=0))
