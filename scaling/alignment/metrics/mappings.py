"""The regressions by name: how they split stimuli, and what they fit for all units of a subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.pls import pls_predictions
from scaling.alignment.metrics.results import Index, Strata
from scaling.alignment.metrics.shared_ridge import SharedFit, SharedRidge
from scaling.alignment.metrics.splits import (
    StimulusSplit,
    k_folds,
    shuffle_splits,
    stratified_shuffle_splits,
)
from scaling.alignment.metrics.subjects import Fit
from scaling.alignment.numerics import Array


def whole_folds(n_stimuli: int, strata: Strata) -> list[StimulusSplit]:
    """Five folds."""
    return k_folds(n_stimuli)


def published_splits(n_stimuli: int, strata: Strata) -> list[StimulusSplit]:
    """Brain-Score's ten."""
    return shuffle_splits(n_stimuli) if strata is None else stratified_shuffle_splits(strata)


def ridge_of_all_units(alphas: Array, relative: bool) -> Callable[[Representation], Fit]:
    """A representation → ridge regression with one penalty for all units of a subject."""
    return lambda rep: SharedRidge(rep, alphas, relative).fit


def pls_of_all_units(rep: Representation) -> Fit:
    """PLS by the interface of `SharedRidge`: inner folds are fitted one by one."""

    def fit(y: Array, split: StimulusSplit, inner: Sequence[Index] = ()) -> SharedFit:
        folds = [StimulusSplit(np.delete(split.train, part), split.train[part]) for part in inner]
        held_out, *left_out = pls_predictions(rep, y, [split, *folds])
        return SharedFit(held_out, float("nan"), left_out)

    return fit
