"""The regressions by name: how their splits follow labels, and of how many components they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.between import reverse_predictivity
from scaling.alignment.metrics.pls import pls_predictions
from scaling.alignment.metrics.results import Index, Strata
from scaling.alignment.metrics.shared_ridge import SharedFit, SharedRidge
from scaling.alignment.metrics.splits import (
    StimulusSplit,
    k_folds,
    shuffle_splits,
    stratified_folds,
    stratified_shuffle_splits,
)
from scaling.alignment.metrics.subjects import Fit
from scaling.alignment.numerics import Array

PLS_COMPONENTS = 25  # Brain-Score's


def whole_folds(n_stimuli: int, strata: Strata) -> list[StimulusSplit]:
    """Five folds, each label in proportion."""
    return k_folds(n_stimuli) if strata is None else stratified_folds(strata)


def published_splits(n_stimuli: int, strata: Strata) -> list[StimulusSplit]:
    """Brain-Score's ten."""
    return shuffle_splits(n_stimuli) if strata is None else stratified_shuffle_splits(strata)


def up_to_25(rep: Representation, responses: Array, splits: Sequence[StimulusSplit]) -> list[Array]:
    """PLS of 25 components, or of as many as there are features: small widths keep the layers of large ones."""
    return pls_predictions(rep, responses, splits, min(PLS_COMPONENTS, rep.n_features))


def reverse_by_pls(rep: Representation, responses: Array) -> float:
    """Median r of the layer's units as the neuroids predict them, on five folds; see `reverse_predictivity`."""
    return reverse_predictivity(responses, rep, k_folds(len(rep)), up_to_25).raw


def ridge_of_all_units(alphas: Array, relative: bool) -> Callable[[Representation], Fit]:
    """A representation → ridge regression with one penalty for all units of a subject."""
    return lambda rep: SharedRidge(rep, alphas, relative).fit


def pls_of_all_units(rep: Representation) -> Fit:
    """PLS by the interface of `SharedRidge`: inner folds are fitted one by one."""

    def fit(y: Array, split: StimulusSplit, inner: Sequence[Index] = ()) -> SharedFit:
        folds = [StimulusSplit(np.delete(split.train, part), split.train[part]) for part in inner]
        held_out, *left_out = up_to_25(rep, y, [split, *folds])
        return SharedFit(held_out, float("nan"), left_out)

    return fit
