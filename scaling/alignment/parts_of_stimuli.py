"""Which stimuli choose a layer and which score it, and what a benchmark's assembly has to be for that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.metrics.registry import METRICS
from scaling.alignment.metrics.results import CeilingKind, Index
from scaling.data.recordings.stimuli import StimulusSet
from scaling.errors import StudyError

FOLDS = 5  # one of which is the test stimuli's share, where layers are chosen by folds


def split_off_test(stimuli: StimulusSet, seed: int = 0) -> tuple[Index, Index]:
    """Training and test stimuli: four fifths and one, each class in proportion, both sorted."""
    order = np.random.default_rng((seed, FOLDS)).permutation(len(stimuli))
    labels = _labels(stimuli)[order]
    dealt = np.concatenate([order[labels == label] for label in np.unique(labels)])
    test = np.sort(dealt[::FOLDS])
    return np.setdiff1d(np.arange(len(order)), test), test


def check_assembly(name: str, metric: str, stimuli: StimulusSet, assembly: Any, ceiling_kind: CeilingKind) -> None:
    """Refuse an assembly that does not fit the stimuli or the metric.

    Raises:
        StudyError: names the benchmark.
    """
    of, n = METRICS[metric], len(stimuli)
    problem = of.check(assembly, n)
    if problem:
        raise StudyError(f"benchmark {name}: {metric} assembly {problem} (stimuli {stimuli.name!r})")
    if ceiling_kind != "none" and of.n_repetitions(assembly) < 2:
        raise StudyError(
            f"benchmark {name}: ceiling_kind={ceiling_kind!r} over {of.n_repetitions(assembly)} repetition; give at "
            "least 2, or ceiling_kind='none'"
        )
    if n < of.min_stimuli:
        raise StudyError(
            f"benchmark {name}: {n} stimuli; needs at least {of.min_stimuli} to select a layer on some and score it on "
            "others"
        )


def split_stimuli(stimuli: StimulusSet, seed: int = 0) -> tuple[Index, Index]:
    """Selection and scored half: each class shuffled by the seed, then dealt in turn to the two halves.

    Returns:
        Two sorted, disjoint index arrays that cover all stimuli; the sizes and every class differ by at most one.
    """
    rng = np.random.default_rng(seed)
    labels = _labels(stimuli)
    dealt = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return np.sort(dealt[0::2]), np.sort(dealt[1::2])


def _labels(stimuli: StimulusSet) -> NDArray[np.int64]:
    return np.zeros(len(stimuli), dtype=np.int64) if stimuli.labels is None else stimuli.labels
