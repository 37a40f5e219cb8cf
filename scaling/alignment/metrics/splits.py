"""Training and held-out stimuli of cross-validated mappings, and the correlation within each held-out part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.numerics import Array, as_responses, pearson
from scaling.errors import StudyError

Index = NDArray[np.intp]

MIN_HELD_OUT = 4  # stimuli in a held-out part: r of 2 is ±1 and of 3 nearly so


class StimulusSplit(NamedTuple):
    """Indices of the stimuli that fit a mapping and of those that it then predicts."""

    train: Index
    test: Index


def k_folds(n_stimuli: int, n_folds: int = 5, seed: int = 0) -> list[StimulusSplit]:
    """Every stimulus held out once: a seeded permutation cut into `n_folds` parts that differ by at most one.

    Both parts of a split are in ascending order.

    Raises:
        StudyError: fewer than 2 folds, or fewer than 4 stimuli in a fold.
    """
    if n_folds < 2 or n_stimuli < MIN_HELD_OUT * n_folds:
        raise StudyError(
            f"folds: {n_stimuli} stimuli in n_folds={n_folds}; needs at least 2 folds of at least {MIN_HELD_OUT} "
            "stimuli: give more stimuli or fewer folds"
        )
    order = np.random.default_rng(seed).permutation(n_stimuli)
    tests = [np.sort(fold) for fold in np.array_split(order, n_folds)]
    return [StimulusSplit(np.setdiff1d(np.arange(n_stimuli), test), test) for test in tests]


def stratified_folds(labels: ArrayLike, n_folds: int = 5, seed: int = 0) -> list[StimulusSplit]:
    """As `k_folds`, each label dealt to the folds in turn: in any two of them its stimuli differ by at most one.

    Args:
        labels: (n_stimuli,) one category a stimulus; one of few stimuli is in few folds.

    Raises:
        StudyError: as `k_folds`.
    """
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    k_folds(len(codes), n_folds)  # refuses what it refuses
    order = np.random.default_rng(seed).permutation(len(codes))
    dealt = order[np.argsort(codes[order], kind="stable")]
    tests = [np.sort(dealt[fold::n_folds]) for fold in range(n_folds)]
    return [StimulusSplit(np.setdiff1d(np.arange(len(codes)), test), test) for test in tests]


def stratified_shuffle_splits(
    labels: ArrayLike, n_splits: int = 10, train_size: float = 0.9, seed: int = 1
) -> list[StimulusSplit]:
    """Random splits that keep the proportions of the labels: scikit-learn's, index by index and in its order.

    With the defaults, and labels in the order of the assembly's stimuli, the splits of Brain-Score's benchmarks.

    Args:
        labels: (n_stimuli,) one category a stimulus (object_name, texture_type).
        n_splits: splits; a stimulus may be held out in several. train_size: share of the stimuli that fit.

    Raises:
        StudyError: a label with a single stimulus, fewer stimuli in a part than labels, or than 4 held out.

    Source: `sklearn.model_selection.StratifiedShuffleSplit(n_splits, train_size=train_size, random_state=seed)`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise StudyError(f"splits: labels of shape {labels.shape}; give one label a stimulus, (n_stimuli,)")
    names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) and counts.min() < 2:
        raise StudyError(
            f"splits: label {names[counts.argmin()]!s} has 1 stimulus of {len(labels)}; stratified splits need at "
            "least 2 a label: merge it with another or drop the stimulus"
        )
    n_train, n_test = _part_sizes(len(labels), n_splits, train_size)
    if min(n_train, n_test) < len(names):
        raise StudyError(
            f"splits: train_size={train_size} of {len(labels)} stimuli leaves {n_train} to fit and {n_test} held out, "
            f"fewer than the {len(names)} labels; give more stimuli or another train_size"
        )
    rng, members = np.random.RandomState(seed), np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    return [_stratified(members, (n_train, n_test), rng) for _ in range(n_splits)]


def _stratified(members: Sequence[Index], sizes: tuple[int, int], rng: np.random.RandomState) -> StimulusSplit:
    """One split: of each label as many stimuli as its share; draws from `rng` in scikit-learn's order."""
    counts = np.array([len(one) for one in members])
    fitted = _shares(counts, sizes[0], rng)
    held_out = _shares(counts - fitted, sizes[1], rng)
    train, test = list[int](), list[int]()
    for one, n_fitted, n_held_out in zip(members, fitted, held_out, strict=True):
        shuffled = one[rng.permutation(len(one))]
        train += shuffled[:n_fitted].tolist()
        test += shuffled[n_fitted : n_fitted + n_held_out].tolist()
    return StimulusSplit(rng.permutation(train), rng.permutation(test))


def _shares(counts: Index, n: int, rng: np.random.RandomState) -> Index:
    """n divided in proportion to counts: rounded down, then one more each by largest remainder, ties drawn."""
    exact = counts / counts.sum() * n
    shares = np.floor(exact)
    remainder, left = exact - shares, int(n - shares.sum())
    for value in np.unique(remainder)[::-1]:
        if left == 0:
            break
        tied = np.flatnonzero(remainder == value)
        drawn = rng.choice(tied, size=min(len(tied), left), replace=False)
        shares[drawn] += 1
        left -= len(drawn)
    return shares.astype(np.intp)


def shuffle_splits(n_stimuli: int, n_splits: int = 10, train_size: float = 0.9, seed: int = 1) -> list[StimulusSplit]:
    """Random splits of unlabelled stimuli: scikit-learn's `ShuffleSplit`, index by index and in its order.

    Raises:
        StudyError: nothing to fit, or fewer than 4 stimuli held out.
    """
    _, n_test = _part_sizes(n_stimuli, n_splits, train_size)
    rng = np.random.RandomState(seed)
    orders = [rng.permutation(n_stimuli) for _ in range(n_splits)]
    return [StimulusSplit(order[n_test:], order[:n_test]) for order in orders]


def check_splits(splits: Sequence[StimulusSplit], n_stimuli: int) -> None:
    """Refuse splits that leave a part empty, index stimuli that do not exist, or hold out what they fit."""
    if not splits:
        raise StudyError("splits: none; give at least one split")
    for number, (train, test) in enumerate(splits):
        if not len(train) or not len(test):
            raise StudyError(f"splits[{number}]: {len(train)} stimuli to fit and {len(test)} held out; give both")
        both = np.concatenate([train, test])
        if both.min() < 0 or both.max() >= n_stimuli:
            raise StudyError(
                f"splits[{number}]: stimuli {both.min()} to {both.max()} of {n_stimuli}; give indices of the stimuli"
            )
        if len(np.unique(both)) < len(both):
            raise StudyError(f"splits[{number}]: a stimulus comes twice; give disjoint parts without repeats")


def split_correlations(
    predictions: Sequence[ArrayLike], responses: ArrayLike, splits: Sequence[StimulusSplit]
) -> Array:
    """Pearson r per split and neuroid between held-out predictions and responses.

    Per split and not pooled, because pooling is biased below zero: a training mean is low exactly when its held-out
    part is high (constant features would score −√((K − 1)/(n − 1)) in K folds), and predictions grow when folds agree
    and shrink when they do not. Given its training part, one split's r is symmetric about 0 for features that predict
    nothing.

    Args:
        predictions: a (n_test, n_neuroids) array a split. responses: (n_stimuli, n_neuroids).

    Returns:
        (n_splits, n_neuroids); NaN where the neuroid is constant in the held-out part, 0 where the prediction is.

    Raises:
        StudyError: predictions that do not fit the splits, responses that are not finite.
    """
    y = as_responses(responses)
    check_splits(splits, len(y))
    shapes = [np.shape(predicted) for predicted in predictions]
    expected = [(len(split.test), y.shape[1]) for split in splits]
    if shapes != expected:
        raise StudyError(f"split_correlations: predictions of shapes {shapes}, splits of {expected}; give one a split")
    return np.stack([pearson(p, y[split.test]) for p, split in zip(predictions, splits, strict=True)])


def _part_sizes(n_stimuli: int, n_splits: int, train_size: float) -> tuple[int, int]:
    """Stimuli to fit and held out, rounded as scikit-learn does."""
    if n_splits < 1 or not 0.0 < train_size < 1.0:
        raise StudyError(f"splits: n_splits={n_splits}, train_size={train_size}; give at least 1 and a share in (0, 1)")
    n_train = int(np.floor(train_size * n_stimuli))
    n_test = n_stimuli - n_train
    if n_train < 1 or n_test < MIN_HELD_OUT:
        raise StudyError(
            f"splits: train_size={train_size} of {n_stimuli} stimuli leaves {n_train} to fit and {n_test} held out; "
            f"needs at least 1 and {MIN_HELD_OUT}: give more stimuli or another train_size"
        )
    return n_train, n_test
