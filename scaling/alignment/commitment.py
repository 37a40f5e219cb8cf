"""Which layer a benchmark is scored with, and what choosing it on the scored stimuli would have added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scaling.alignment.metrics.results import Evaluation, FoldEvaluation
from scaling.alignment.metrics.spatial import choose_on_others
from scaling.errors import StudyError
from scaling.yaml_file import read_fields

WORDS = ("split", "folds", "all")


@dataclass(frozen=True)
class Commitment:
    """How a benchmark's layer is chosen.

    Attributes:
        scored_on: 'split' chooses on the selection half (maps: on the other stimuli) and scores on what is left;
            'all' chooses and scores on all stimuli, which favours models with many layers; fixed layers are scored on
            all stimuli. 'folds' chooses by folds inside four fifths of the stimuli, on all of which the mapping that is
            scored on the last fifth is fitted: 'split' fits it on a part of half of them. Metrics without a mapping are
            scored as by 'split', and recordings by subject always have splits of their own.
        layers: benchmark or region → layer, fixed beforehand; a benchmark's own name comes first.
        name: what the records call it.
    """

    scored_on: str = "split"
    layers: Mapping[str, str] = field(default_factory=dict)
    name: str = "split"

    def fixed(self, benchmark: str, region: str) -> str | None:
        return self.layers.get(benchmark, self.layers.get(region))


def read_commitment(value: str) -> Commitment:
    """'split', 'folds', 'all', or a YAML file with benchmark or region → layer.

    Raises:
        StudyError: a file that is missing, no YAML, or no map of names to layers.
    """
    if value in WORDS:
        return Commitment(value, {}, value)
    path = Path(value).expanduser()
    try:
        content = read_fields(path, "file")
    except StudyError as error:
        raise StudyError(
            f"commitment='{value}' is neither 'split' nor 'folds' nor 'all' nor a readable YAML file ({error}); "
            "give a file with one 'benchmark or region: layer' a line"
        ) from error
    if not all(isinstance(word, str) for pair in content.items() for word in pair):
        raise StudyError(f"commitment='{value}' holds no names; write one 'benchmark or region: layer' a line")
    return Commitment("split", content, f"fixed by {path.name}")


@dataclass(frozen=True)
class LayerEvaluation:
    """One layer on one benchmark: on each half, and on all stimuli where those are scored, as maps always are."""

    selection: Evaluation | None
    scored: Evaluation | None
    everything: Evaluation | None


class Choice(NamedTuple):
    """A layer, its evaluation on the scored stimuli, its raw on those it was chosen on, and the leak."""

    layer: str
    final: Evaluation
    selection_raw: float | None
    leak: float | None


def choose_best(evaluations: Mapping[str, LayerEvaluation], layer_scores: Mapping[str, float]) -> Choice:
    """One layer for all stimuli: the first of those with the highest score."""
    layer = max(layer_scores, key=layer_scores.__getitem__)
    committed = evaluations[layer]
    final = committed.everything or committed.scored
    assert final is not None
    return Choice(layer, final, None if committed.selection is None else committed.selection.raw, _leak(evaluations))


def choose_by_stimulus(evaluations: Mapping[str, LayerEvaluation]) -> Choice:
    """A layer for each stimulus, chosen on the others; the one named is chosen most often, the first of equals."""
    layers = {layer: e.everything.folds for layer, e in evaluations.items() if isinstance(e.everything, FoldEvaluation)}
    folds = np.stack(list(layers.values()))
    best, selection = choose_on_others(folds)
    final = FoldEvaluation(folds[best, np.arange(folds.shape[1])])
    leak = float(folds.mean(axis=1).max()) - final.raw
    return Choice(list(layers)[np.bincount(best).argmax()], final, float(selection.mean()), leak)


def _leak(evaluations: Mapping[str, LayerEvaluation]) -> float | None:
    """On the scored half: raw of the layer that is best there, minus raw of the one that is best on the other half."""
    halves = [(e.selection.raw, e.scored.raw) for e in evaluations.values() if e.selection and e.scored]
    return max(scored for _, scored in halves) - max(halves, key=lambda half: half[0])[1] if halves else None
