"""The benchmark interface: features of a model in, one AlignmentResult out; layers are chosen on other stimuli."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from scaling.alignment.ceilings import neuroid_ceiling, rdm_ceiling
from scaling.alignment.metrics import Array, rdm, ridge_score, rsa
from scaling.data.stimuli import Stimuli
from scaling.errors import StudyError

REGIONS = ("V1", "V2", "V4", "IT", "behavior")
MIN_HALF = 20  # stimuli in the smaller half: 5 folds of 4 for ridge, 190 pairs for RSA

CeilingKind = Literal["split_half", "subjects", "none"]


class AlignmentResult(BaseModel):
    """How one model aligns with one benchmark.

    `raw` is the metric's correlation of the committed layer on the scored stimuli, `score = raw / ceiling` with the
    sign kept (`raw` itself where there is no ceiling), `selection_raw` the same layer on the selection stimuli.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    region: str
    metric: str
    layer: str
    raw: float
    ceiling: float | None
    ceiling_kind: CeilingKind
    score: float
    n_stimuli: int
    n_neuroids: int | None
    selection_raw: float
    layer_scores: dict[str, float]


@dataclass(frozen=True)
class Metric:
    """How a kind of assembly is compared with features.

    Attributes:
        score: (features, target) → correlation. ceiling: assembly → the correlation a perfect model reaches.
        stimulus_axes: axes of the assembly that run over stimuli.
    """

    score: Callable[[ArrayLike, Array], float]
    ceiling: Callable[[Array], float]
    stimulus_axes: tuple[int, ...]

    def restrict(self, assembly: Array, index: NDArray[np.intp]) -> Array:
        """The assembly of some of the stimuli."""
        for axis in self.stimulus_axes:
            assembly = np.take(assembly, index, axis=axis)
        return assembly


METRICS: dict[str, Metric] = {
    "ridge": Metric(ridge_score, neuroid_ceiling, stimulus_axes=(1,)),
    "rsa": Metric(lambda features, target: rsa(rdm(features), target), rdm_ceiling, stimulus_axes=(1, 2)),
}


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One assembly, its stimuli and its metric; call it with a model's features.

    Attributes:
        name: 'suite.benchmark', e.g. 'kriegeskorte2008.monkey-IT'. region: one of REGIONS. metric: key of METRICS.
        stimuli: shared by identity between the benchmarks of a suite.
        assembly: float64, repetitions (or subjects) first. 'ridge': (n_repetitions, n_stimuli, n_neuroids) responses;
            'rsa': (n_subjects, n_stimuli, n_stimuli) RDMs. The target is the mean over the first axis.
        ceiling_kind: what the ceiling is taken over; 'none' leaves the score unceiled.
        seed: of the split into selection and scored stimuli.

    Raises:
        StudyError: at construction, an assembly that does not fit the stimuli or the metric, or is not finite.
    """

    name: str
    region: str
    metric: str
    stimuli: Stimuli
    assembly: Array
    ceiling_kind: CeilingKind
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_words()
        self._check_assembly()

    def __call__(self, features: Mapping[str, ArrayLike]) -> AlignmentResult:
        """Commit to the layer with the highest raw on the selection half; score it on the other half.

        Args:
            features: layer → (n_stimuli, ...), rows in the order of `stimuli`. Equal layers: the first one wins.

        Raises:
            StudyError: no layers, a layer of other stimuli, features that are not finite; names the layer.
        """
        if not features:
            raise StudyError(f"benchmark {self.name}: no features; give at least one layer")
        selection, scored = self.halves
        layer_scores = {layer: self._raw(layer, values, selection) for layer, values in features.items()}
        layer = max(layer_scores, key=layer_scores.__getitem__)
        raw = self._raw(layer, features[layer], scored)
        return AlignmentResult(
            benchmark=self.name,
            region=self.region,
            metric=self.metric,
            layer=layer,
            raw=raw,
            ceiling=self.ceiling,
            ceiling_kind=self.ceiling_kind,
            score=raw if self.ceiling is None else raw / self.ceiling,
            n_stimuli=len(scored),
            n_neuroids=self.n_neuroids,
            selection_raw=layer_scores[layer],
            layer_scores=layer_scores,
        )

    @property
    def n_neuroids(self) -> int | None:
        """Neuroids recorded; None where the assembly is an RDM."""
        return self.assembly.shape[2] if self.metric == "ridge" else None

    @cached_property
    def halves(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Selection and scored stimuli: disjoint, sizes within one, each class within one."""
        return split_stimuli(self.stimuli, self.seed)

    @cached_property
    def ceiling(self) -> float | None:
        """Ceiling on the scored stimuli; None where there is none.

        Raises:
            StudyError: the repetitions or subjects share no reliable signal.
        """
        if self.ceiling_kind == "none":
            return None
        ceiling = self._metric.ceiling(self._metric.restrict(self.assembly, self.halves[1]))
        if not ceiling > 0:
            raise StudyError(
                f"benchmark {self.name}: ceiling {ceiling:.3g} on {len(self.halves[1])} scored stimuli; "
                "the repetitions share no reliable signal: give more repetitions or stimuli, or ceiling_kind='none'"
            )
        return ceiling

    @cached_property
    def _target(self) -> Array:
        return self.assembly.mean(axis=0)

    @property
    def _metric(self) -> Metric:
        return METRICS[self.metric]

    def _raw(self, layer: str, features: ArrayLike, index: NDArray[np.intp]) -> float:
        values = np.asarray(features)
        where = f"benchmark {self.name}, layer {layer!r}"
        if values.shape[:1] != (len(self.stimuli),):
            raise StudyError(
                f"{where}: features of shape {values.shape} for {len(self.stimuli)} stimuli of "
                f"{self.stimuli.name!r}; give one row a stimulus"
            )
        target = self._metric.restrict(self._target[None], index)[0]
        try:
            raw = self._metric.score(values[index], target)
        except StudyError as error:
            raise StudyError(f"{where}: {error}") from error
        if not np.isfinite(raw):
            raise StudyError(f"{where}: the assembly is constant over {len(index)} stimuli; nothing to explain")
        return raw

    def _check_words(self) -> None:
        for field, value, known in (("region", self.region, REGIONS), ("metric", self.metric, tuple(METRICS))):
            if value not in known:
                raise StudyError(
                    f"benchmark {self.name}: {field} {value!r} is unknown; choose one of {', '.join(known)}"
                )

    def _check_assembly(self) -> None:
        shape, n = self.assembly.shape, len(self.stimuli)
        stimulus_axes = self._metric.stimulus_axes
        if len(shape) != 3 or 0 in shape or any(shape[axis] != n for axis in stimulus_axes):
            raise StudyError(
                f"benchmark {self.name}: assembly of shape {shape} for {n} stimuli of {self.stimuli.name!r}; "
                f"{self.metric} needs three axes, {n} long on {stimulus_axes}, repetitions or subjects first"
            )
        bad = int(np.count_nonzero(~np.isfinite(self.assembly)))
        if bad:
            raise StudyError(
                f"benchmark {self.name}: {bad:,} of {self.assembly.size:,} assembly values are not finite; "
                "drop those repetitions or neuroids"
            )
        if self.ceiling_kind != "none" and shape[0] < 2:
            raise StudyError(
                f"benchmark {self.name}: ceiling_kind={self.ceiling_kind!r} over {shape[0]} repetition; "
                "give at least 2, or ceiling_kind='none'"
            )
        if n < 2 * MIN_HALF:
            raise StudyError(
                f"benchmark {self.name}: {n} stimuli; needs at least {2 * MIN_HALF} to select a layer on one half "
                "and score it on the other"
            )


def split_stimuli(stimuli: Stimuli, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Selection and scored half: each class shuffled by the seed, then dealt in turn to the two halves.

    Returns:
        Two sorted, disjoint index arrays that cover all stimuli; the sizes and every class differ by at most one.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(stimuli), dtype=np.int64) if stimuli.labels is None else stimuli.labels
    dealt = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return np.sort(dealt[0::2]), np.sort(dealt[1::2])
