"""The benchmark interface: representations of a model's layers in, one AlignmentResult out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.alignment.alike import group_alike
from scaling.alignment.commitment import Commitment, LayerEvaluation, choose_best, choose_by_stimulus
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.ceilings import Convention, ceiled_score, ceiling_for
from scaling.alignment.metrics.registry import METRICS, Metric, NeuroidMetric, SubjectRDMMetric
from scaling.alignment.metrics.results import CeilingKind, Evaluation, Index, Needs, standard_error
from scaling.alignment.metrics.splits import StimulusSplit
from scaling.alignment.metrics.subjects import SubjectMetric
from scaling.alignment.metrics.unit_draws import speaks_of, two_level_interval
from scaling.alignment.numerics import Array
from scaling.alignment.parts_of_stimuli import check_assembly, split_off_test
from scaling.alignment.parts_of_stimuli import split_stimuli as split_stimuli
from scaling.alignment.regions import INPUT, OUTPUT, check_region
from scaling.alignment.result import AlignmentResult as AlignmentResult
from scaling.data.recordings.stimuli import StimulusSet
from scaling.errors import StudyError

NO_LAYERS = {"saliency": INPUT, "choices": OUTPUT}  # what stands for a layer where there is none to choose


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One assembly, its stimuli and its metric; call it with a model's features.

    Attributes:
        name: 'suite.benchmark', e.g. 'kriegeskorte2008.monkey-IT'. region: any name. metric: of METRICS.
        stimuli: shared by identity between the benchmarks of a suite.
        assembly: what the metric compares with; arrays have repetitions (or subjects) first.
        ceiling_kind: what the ceiling is taken over; 'none' leaves the score unceiled. ceiled: its convention.
        strata: (n_stimuli,) categories that the metric's splits keep in proportion, or None.
        readout_only: only the model's readout layer is a candidate.
        part: which subject or session of a benchmark of several, see `pooled`. note: what its scores are to say too,
            such as neuroids that were left out.
        seed: of the split into selection and scored stimuli.

    Raises:
        StudyError: at construction, an assembly that does not fit the stimuli or the metric, or is not finite.
    """

    name: str
    region: str
    metric: str
    stimuli: StimulusSet
    assembly: Any
    ceiling_kind: CeilingKind
    ceiled: Convention = "r/c"
    strata: NDArray[Any] | None = None
    readout_only: bool = False
    seed: int = 0
    part: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        check_region(self.region, f"benchmark {self.name}")
        if self.metric not in METRICS:
            raise StudyError(
                f"benchmark {self.name}: metric {self.metric!r} is unknown; choose one of {', '.join(METRICS)}"
            )
        check_assembly(self.name, self.metric, self.stimuli, self.assembly, self.ceiling_kind)

    @property
    def key(self) -> str:
        """The name, and which part of it."""
        return f"{self.name}/{self.part}" if self.part else self.name

    @property
    def parts(self) -> tuple[Benchmark, ...]:
        """What is evaluated; several in a `PooledBenchmark`."""
        return (self,)

    @property
    def n_stimuli(self) -> int:
        return len(self.stimuli)

    def with_convention(self, ceiled: Convention) -> Benchmark:
        """The benchmark, ceiled by another convention; as it is where its ceiling is no reliability, or of no units."""
        has_scale = self.ceiling_kind in ("split_half", "subjects", "single_subject", "brain_score")
        return replace(self, ceiled=ceiled) if has_scale and ceiled != "mean r/c" else self

    def __call__(
        self, features: Mapping[str, ArrayLike | Representation], commitment: Commitment | None = None
    ) -> AlignmentResult:
        """Evaluate every layer and commit to one.

        Args:
            features: layer → Representation or (n_stimuli, ...), rows in the order of `stimuli`; where `needs` is
                'maps', (n_stimuli, height, width, channels); where it is 'saliency', INPUT → gradients
                (n_stimuli, channels, height, width). Equal layers: the first one wins.

        Raises:
            StudyError: no layers, a layer of other stimuli, features that are not finite; names the layer.
        """
        commitment = commitment or Commitment()
        evaluations = {}
        for layer in self.candidates(list(features), commitment):
            values = features[layer]
            evaluations[layer] = evaluate_layer(layer, self._needed(layer, values), [self], commitment)[self.key]
        return self.commit(evaluations, commitment)

    def candidates(self, layers: Sequence[str], commitment: Commitment) -> list[str]:
        """Which of a model's layers may be committed to: the fixed one, the readout layer (the last), or all.

        Saliency is of no layer: INPUT; nor are choices: OUTPUT.
        """
        if self.needs in NO_LAYERS:
            return [NO_LAYERS[self.needs]]
        if not layers:
            raise StudyError(f"benchmark {self.name}: no features; give at least one layer")
        fixed = commitment.fixed(self.name, self.region)
        if fixed is not None:
            return [fixed]
        return [layers[-1]] if self.readout_only else list(layers)

    def commit(
        self, evaluations: Mapping[str, LayerEvaluation], commitment: Commitment, resamples: int = 200
    ) -> AlignmentResult:
        """The result of the layer with the highest raw on the selection stimuli.

        Raises:
            StudyError: no layer was evaluated, the assembly is constant over the scored stimuli.
        """
        if not evaluations:
            raise StudyError(f"benchmark {self.name}: no candidate layer has {self.needs}; name a layer that has")
        chosen_on = {
            layer: e.everything if e.selection is None or commitment.scored_on == "all" else e.selection
            for layer, e in evaluations.items()
        }
        layer_scores = {layer: _raw(e, self.name) for layer, e in chosen_on.items()}
        choice = choose_best(evaluations, layer_scores)
        if self.needs == "maps" and commitment.fixed(self.name, self.region) is None:
            nested = choose_by_stimulus(evaluations)
            choice = choice._replace(leak=nested.leak) if commitment.scored_on == "all" else nested
        layer, final = choice.layer, choice.final
        on_all = evaluations[layer].everything is not None
        draws = final.draws(resamples, self.seed) if resamples else None
        interval = None if draws is None else two_level_interval(draws, final.n_subjects)
        bounds, subjects = self._bounds(on_all), final.subjects
        in_folds = self.uses_folds(commitment)
        raw, ceiling = _raw(final, self.name), self.ceiling(on_all, in_folds)
        return AlignmentResult(
            benchmark=self.name,
            region=self.region,
            metric=self.metric,
            layer=layer,
            commitment=commitment.name if in_folds or commitment.name != "folds" else "split",
            raw=raw,
            raw_error=standard_error(final, draws),
            raw_low=interval[0] if interval else None,
            raw_high=interval[1] if interval else None,
            ceiling=ceiling,
            ceiling_kind=self.ceiling_kind,
            ceiled=self.ceiled,
            score=self._score(final, raw, ceiling),
            n_stimuli=len(self._scored(on_all, in_folds)),
            n_neuroids=self._metric.n_neuroids(self.assembly),
            selection_raw=choice.selection_raw,
            selection_leak=choice.leak,
            layer_scores=layer_scores,
            n_subjects=final.n_subjects,
            subject_scores=None if subjects is None else self._by_subject(subjects, ceiling),
            interval_of=None if draws is None else speaks_of(final.n_subjects, (), self._drawn),
            mapping_samples=final.n_fitted,
            ceiling_low=bounds and bounds[0],
            ceiling_high=bounds and bounds[1],
            draws=None if draws is None else [float(draw) for draw in draws],
        )

    @property
    def _drawn(self) -> str:
        """What the bootstrap draws where no subjects are known."""
        return "stimuli" if self._metric.n_neuroids(self.assembly) is None else "stimuli and units"

    def _by_subject(self, raws: Array, ceiling: float | None) -> dict[str, dict[str, float | None]]:
        scores = [raw if ceiling is None else ceiled_score(raw, ceiling, self.ceiled) for raw in raws]
        rows = zip(raws.tolist(), scores, strict=True)
        return {str(i + 1): {"raw": raw, "ceiling": ceiling, "score": score} for i, (raw, score) in enumerate(rows)}

    def _bounds(self, on_all: bool) -> tuple[float, float] | None:
        """Two ceilings between which the ceiling lies, where the metric has them. Computed once."""
        metric, key = self._metric, ("bounds", on_all)
        if not isinstance(metric, SubjectRDMMetric) or self.ceiling_kind == "none":
            return None
        if key not in self._known:
            self._known[key] = metric.bounds(metric.take(self.assembly, self._scored(on_all)))
        return self._known[key]

    def _score(self, final: Evaluation, raw: float, ceiling: float | None) -> float:
        if ceiling is None:
            return raw
        own = final.ceiled if self.ceiled == "r/c" else None
        return ceiled_score(raw, ceiling, self.ceiled) if own is None else own

    @cached_property
    def halves(self) -> tuple[Index, Index]:
        """Selection and scored stimuli: disjoint, sizes within one, each class within one."""
        return split_stimuli(self.stimuli, self.seed)

    @cached_property
    def fixed_split(self) -> tuple[Index, Index]:
        """Training and test stimuli where layers are chosen by folds: four fifths and one, each class in proportion."""
        return split_off_test(self.stimuli, self.seed)

    def uses_folds(self, commitment: Commitment) -> bool:
        """Whether the layer is chosen inside training stimuli, and scored on test stimuli."""
        return (
            commitment.scored_on == "folds"
            and isinstance(self._metric, NeuroidMetric)
            and self._metric.predict is not None
        )

    def ceiling(self, on_all: bool = False, in_folds: bool = False) -> float | None:
        """Ceiling on the scored stimuli (a half, or the test stimuli of folds), or on all; None where there is none.

        Computed once.

        Raises:
            StudyError: the repetitions or subjects share no reliable signal.
        """
        key = ("ceiling", on_all, in_folds)
        if key not in self._known:
            self._known[key] = self._ceiling_on(self._scored(on_all, in_folds))
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], Any]:
        """Ceilings and bounds, by what they are of: the same for every model."""
        return {}

    def _scored(self, on_all: bool, in_folds: bool = False) -> Index:
        return np.arange(len(self.stimuli)) if on_all else (self.fixed_split if in_folds else self.halves)[1]

    def _ceiling_on(self, index: Index) -> float | None:
        if self.ceiling_kind == "none":
            return None
        of_kind = self._metric.ceiling(self._metric.take(self.assembly, index), self.ceiling_kind)
        ceiling = float(ceiling_for(np.asarray(of_kind), self.ceiling_kind, self.ceiled))
        if not ceiling > 0:
            raise StudyError(
                f"benchmark {self.name}: ceiling {ceiling:.3g} on {len(index)} scored stimuli; "
                "the repetitions share no reliable signal: give more repetitions or stimuli, or ceiling_kind='none'"
            )
        return ceiling

    @property
    def _metric(self) -> Metric:
        return METRICS[self.metric]

    @property
    def needs(self) -> Needs:
        """What the metric compares: a layer's 'representation' or 'maps', or the model's 'saliency'."""
        return self._metric.needs

    def _needed(self, layer: str, values: Any) -> Any:
        if isinstance(values, Representation) and self.needs == "representation":
            return values
        shape = np.shape(values)
        if shape[:1] != (len(self.stimuli),):
            raise StudyError(
                f"benchmark {self.name}, layer {layer!r}: features of shape {shape} for {len(self.stimuli)} stimuli of "
                f"{self.stimuli.name!r}; give one row a stimulus"
            )
        if self.needs != "representation":
            return values
        try:
            return Representation.of(values)
        except StudyError as error:
            raise StudyError(f"benchmark {self.name}, layer {layer!r}: {error}") from error


def evaluate_layer(
    layer: str, rep: Representation | ArrayLike, benchmarks: Sequence[Benchmark], commitment: Commitment
) -> dict[str, LayerEvaluation]:
    """One layer on benchmarks that share their stimuli; those of one metric and split share what they can.

    Args:
        rep: what the benchmarks need of the layer; see `Benchmark.needs`.

    Raises:
        StudyError: names the benchmarks and the layer.
    """
    found: dict[str, LayerEvaluation] = {}
    for together in group_alike(benchmarks, commitment):
        try:
            found |= _evaluate_alike(rep, together, commitment)
        except StudyError as error:
            names = ", ".join(benchmark.key for benchmark in together)
            raise StudyError(f"benchmark {names}, layer {layer!r}: {error}") from error
    return found


def _evaluate_alike(
    rep: Representation | ArrayLike, benchmarks: Sequence[Benchmark], commitment: Commitment
) -> dict[str, LayerEvaluation]:
    first, on = benchmarks[0], dict[str, Sequence[Evaluation]]()
    on_halves = commitment.fixed(first.name, first.region) is None and not first.readout_only
    on_halves = on_halves and not isinstance(first._metric, SubjectMetric)  # which has splits of its own
    if isinstance(rep, Representation) and on_halves:
        try:
            on |= _in_folds(rep, benchmarks) if first.uses_folds(commitment) else _on_halves(rep, benchmarks)
        except StudyError:
            if commitment.scored_on != "all":
                raise  # where all stimuli are scored, halves too small for the metric leave only the leak unknown
    if not on or commitment.scored_on == "all":
        on["everything"] = first._metric.evaluate(rep, [benchmark.assembly for benchmark in benchmarks], first.strata)
    return {
        benchmark.key: LayerEvaluation(*(on[p][i] if p in on else None for p in ("selection", "scored", "everything")))
        for i, benchmark in enumerate(benchmarks)
    }


def _in_folds(rep: Representation, benchmarks: Sequence[Benchmark]) -> dict[str, Sequence[Evaluation]]:
    """By the metric's own splits inside the training stimuli; and fitted on all of them, on the test stimuli."""
    first, metric = benchmarks[0], benchmarks[0]._metric
    assert isinstance(metric, NeuroidMetric)
    train, test = first.fixed_split
    strata = None if first.strata is None else first.strata[train]
    assemblies = [benchmark.assembly for benchmark in benchmarks]
    inside = [metric.take(assembly, train) for assembly in assemblies]
    return {
        "selection": metric.evaluate(rep.take(train), inside, strata),
        "scored": metric.evaluate_splits(rep, assemblies, [StimulusSplit(train, test)]),
    }


def _on_halves(rep: Representation, benchmarks: Sequence[Benchmark]) -> dict[str, Sequence[Evaluation]]:
    first, on = benchmarks[0], dict[str, Sequence[Evaluation]]()
    for part, index in zip(("selection", "scored"), first.halves, strict=True):
        assemblies = [benchmark._metric.take(benchmark.assembly, index) for benchmark in benchmarks]
        strata = None if first.strata is None else first.strata[index]
        on[part] = first._metric.evaluate(rep.take(index), assemblies, strata)
    return on


def _raw(evaluation: Evaluation | None, name: str) -> float:
    assert evaluation is not None
    if not np.isfinite(evaluation.raw):
        raise StudyError(f"benchmark {name}: the assembly is constant over the stimuli; nothing to explain")
    return evaluation.raw
