"""One model against benchmarks: its layers' representations once a stimulus set, then every benchmark on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from scaling.alignment.alike import group_alike
from scaling.alignment.benchmark import NO_LAYERS, AlignmentResult, Benchmark, evaluate_layer
from scaling.alignment.commitment import LayerEvaluation
from scaling.alignment.features.activations import check_layers
from scaling.alignment.features.cache import weights_hash
from scaling.alignment.features.choices import class_probabilities
from scaling.alignment.features.extraction import layer_representations
from scaling.alignment.features.gradients import input_gradients
from scaling.alignment.features.layer_maps import layer_maps
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.pooled import AnyBenchmark, PooledBenchmark
from scaling.alignment.protocol import Protocol
from scaling.alignment.scoring import ScoringOptions
from scaling.checkpoints.weights import CheckpointInfo, load_weights
from scaling.errors import StudyError
from scaling.models import candidate_layers
from scaling.records import AlignmentRecord, ResultsStore
from scaling.specs.objective import objective_spec

if TYPE_CHECKING:
    from torch import nn

    from scaling.storage import Storage


Untrained = dict[tuple[str, str], "ModelScore"]  # by the model's weights and view, and the benchmark
JSON_COLUMNS = ("layer_scores", "subject_scores", "mapping_curve", "draws")  # text in a record


@dataclass(frozen=True)
class Subject:
    """A model as it is shown stimuli; layers that may be committed to, input side first, the readout layer last.

    has_classifier: its logits were trained, so that it makes choices of its own.
    """

    model: nn.Module
    layers: Sequence[str]
    preprocessing: Preprocessing
    has_classifier: bool = True


def score_checkpoint(
    storage: Storage,
    run_id: str,
    epoch: int,
    benchmarks: Sequence[AnyBenchmark],
    options: ScoringOptions,
    protocols: Mapping[str, Protocol],
    device: str = "cpu",
    untrained: Untrained | None = None,
) -> list[AlignmentRecord]:
    """Score a run's checkpoint on those benchmarks that it has no score of by their protocols; the store keeps all.

    Args:
        untrained: scores of models at epoch 0, which runs on more or fewer images begin with alike; this adds to them.

    Returns:
        The scores of these benchmarks, those that were there already too.

    A benchmark that cannot be computed gives a record with status 'failed' and the reason. On CPUs one thread is
    used, so that a score does not depend on where it was computed and training keeps its cores.

    Raises:
        StudyError: the checkpoint is missing or damaged.
    """
    import torch

    torch.set_num_threads(1)
    store = ResultsStore(storage)
    known, missing = missing_scores(store, run_id, epoch, benchmarks, protocols)
    if not missing:
        return known
    model, info = load_weights(storage, run_id, epoch)
    preprocessing = Preprocessing.square(info.image_size, info.mean, info.std)
    subject = Subject(model.to(device), candidate_layers(info.run.model, model), preprocessing, _is_classifier(info))
    with threadpool_limits(1):
        if untrained is not None and epoch == 0:
            scores = _score_untrained(untrained, subject, missing, options)
        else:
            scores = score_model(subject, missing, options)
    facts = checkpoint_facts(info)
    new = [
        AlignmentRecord.model_validate(facts | {"protocol": protocols[score.benchmark].text} | score.columns())
        for score in scores
    ]
    new.sort(key=lambda record: record.benchmark)
    store.write_scores(new)
    return sorted([*known, *new], key=lambda record: record.benchmark)


def _score_untrained(
    known: Untrained, subject: Subject, benchmarks: Sequence[AnyBenchmark], options: ScoringOptions
) -> list[ModelScore]:
    """As `score_model`, each model once; failures are not kept."""
    model = f"{weights_hash(subject.model)} {subject.layers} {subject.preprocessing} {subject.has_classifier}"
    missing = [benchmark for benchmark in benchmarks if (model, benchmark.name) not in known]
    new = {score.benchmark: score for score in (score_model(subject, missing, options) if missing else [])}
    known |= {(model, name): score for name, score in new.items() if score.result is not None}
    return [new.get(one.name) or known[model, one.name] for one in benchmarks]


def _is_classifier(info: CheckpointInfo) -> bool:
    return not objective_spec(info.run.objective).own_views


def missing_scores(
    store: ResultsStore,
    run_id: str,
    epoch: int,
    benchmarks: Sequence[AnyBenchmark],
    protocols: Mapping[str, Protocol],
) -> tuple[list[AlignmentRecord], list[AnyBenchmark]]:
    """Of some benchmarks: the scores that a model has by their protocols, and those that it has none of."""
    before = store.read_checkpoint_scores(run_id, epoch)
    there = [r for r in before if r.status == "scored" and _made(r, protocols)]
    missing = [b for b in benchmarks if b.name not in {record.benchmark for record in there}]
    return [record for record in there if record.benchmark in {b.name for b in benchmarks}], missing


def _made(record: AlignmentRecord, protocols: Mapping[str, Protocol]) -> bool:
    return record.benchmark in protocols and protocols[record.benchmark].made(record.protocol)


@dataclass(frozen=True)
class ModelScore:
    """A model on one benchmark: the result, or why there is none (or which layers were left out, and why).

    score_s: seconds of the metric's work alone.
    """

    of: AnyBenchmark
    result: AlignmentResult | None
    reason: str | None
    score_s: float

    @property
    def benchmark(self) -> str:
        return self.of.name

    def columns(self) -> dict[str, object]:
        """The score's columns of an AlignmentRecord."""
        common = {"reason": self.reason, "score_s": self.score_s}
        if self.result is None:
            return failed_score(self.of, common)
        facts = self.result.model_dump()
        texts = {name: None if facts[name] is None else _text(facts[name]) for name in JSON_COLUMNS}
        return facts | common | {"status": "scored"} | texts


def _text(value: Any) -> str:
    """JSON; draws to fewer digits than their scatter leaves meaning."""
    short = isinstance(value, list) and all(isinstance(one, float) for one in value)
    return json.dumps([round(one, 6) for one in value] if short else value)


def score_model(subject: Subject, benchmarks: Sequence[AnyBenchmark], options: ScoringOptions) -> list[ModelScore]:
    """A model on all benchmarks; each layer is shown each stimulus set once, and scored as soon as it is known.

    A benchmark that cannot be computed does not stop the others.
    """
    groups, done = dict[tuple[str, str], list[Benchmark]](), dict[str, Outcome]()
    for part in (part for benchmark in benchmarks for part in benchmark.parts):
        try:
            groups.setdefault((part.stimuli.key, part.needs), []).append(part)
        except StudyError as error:  # its images are not readable here
            done[part.key] = Outcome(failed=f"benchmark {part.key}: {error}")
    scores: dict[str, ModelScore] = {}
    for group in [[], *groups.values()]:
        done |= _StimulusScoring(subject, group, options).run() if group else {}
        for benchmark in benchmarks:  # as soon as all its parts are known
            if benchmark.name not in scores and all(part.key in done for part in benchmark.parts):
                own = {part.key: done.pop(part.key) for part in benchmark.parts}
                scores[benchmark.name] = commit(benchmark, own, subject, options)
    return list(scores.values())


@dataclass
class Outcome:
    """What is known of one part of a benchmark: its layers, why there is none, the layers that were left out."""

    found: dict[str, LayerEvaluation] = field(default_factory=dict)
    seconds: float = 0.0
    failed: str | None = None
    left_out: list[str] = field(default_factory=list)


class _StimulusScoring:
    """A model on parts of benchmarks that show one stimulus set and need the same of the model's layers."""

    def __init__(self, subject: Subject, benchmarks: Sequence[Benchmark], options: ScoringOptions) -> None:
        self._subject, self._benchmarks, self._options = subject, benchmarks, options
        self._outcomes = {benchmark.key: Outcome() for benchmark in benchmarks}

    def run(self) -> dict[str, Outcome]:
        try:
            self._evaluate_layers()
        except StudyError as error:  # of the model or its features: no benchmark can be scored
            for outcome in self._outcomes.values():
                outcome.failed = outcome.failed or str(error)
        return self._outcomes

    def _evaluate_layers(self) -> None:
        commitment = self._options.commitment
        wanted = self._candidates()
        order = dict.fromkeys([*self._subject.layers, *(layer for layers in wanted.values() for layer in layers)])
        layers = [layer for layer in order if any(layer in candidates for candidates in wanted.values())]
        for layer, values in self._stream(layers, wanted) if layers else ():
            if self._options.on_layer is not None and self._benchmarks[0].needs == "representation":
                self._options.on_layer(self._benchmarks[0].stimuli.name, layer, values)
            here = [b for b in self._benchmarks if layer in wanted.get(b.key, ())]
            for alike in group_alike(here, commitment):
                self._evaluate(layer, values, alike)

    def _candidates(self) -> dict[str, list[str]]:
        """Benchmark → the layers it may be committed to; one that names no layer of this model fails alone."""
        wanted: dict[str, list[str]] = {}
        for benchmark in self._benchmarks:
            layers = benchmark.candidates(list(self._subject.layers), self._options.commitment)
            try:
                if benchmark.needs not in NO_LAYERS:
                    check_layers(self._subject.model, layers)
            except StudyError as error:
                self._outcomes[benchmark.key].failed = f"benchmark {benchmark.name}: {error}"
                continue
            wanted[benchmark.key] = layers
        return wanted

    def _stream(self, layers: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Any]]:
        """What the benchmarks need of each layer, as it is computed; of saliency there is one."""
        first, o = self._benchmarks[0], self._options
        shown = (self._subject.model, layers, first.stimuli, self._subject.preprocessing, o.budget)
        if first.needs == "maps":
            return layer_maps(*shown, progress=o.progress)
        if first.needs == "choices":
            self._check_classifier()
            return class_probabilities(shown[0], first.stimuli, self._subject.preprocessing, o.progress, o.kept)
        if first.needs == "saliency":
            return input_gradients(*shown, progress=o.progress)

        def leave_out(layer: str, reason: str) -> None:
            for key in (key for key, candidates in wanted.items() if layer in candidates):
                self._outcomes[key].left_out.append(reason)

        return layer_representations(
            *shown, reduction=o.reduction, cache=o.cache, kept=o.kept, progress=o.progress, leave_out=leave_out
        )

    def _check_classifier(self) -> None:
        if not self._subject.has_classifier:
            raise StudyError(
                "choices: the model's classifier was never trained (its objective uses no labels); score runs with a "
                "supervised objective on this benchmark"
            )

    def _evaluate(self, layer: str, values: Any, alike: Sequence[Benchmark]) -> None:
        began = time.monotonic()
        try:
            found = evaluate_layer(layer, values, alike, self._options.commitment)
        except StudyError as error:  # of this layer, such as one with fewer features than PLS has components
            for benchmark in alike:
                self._outcomes[benchmark.key].left_out.append(str(error))
            return
        for benchmark in alike:
            outcome = self._outcomes[benchmark.key]
            outcome.found[layer] = found[benchmark.key]
            outcome.seconds += (time.monotonic() - began) / len(alike)


def commit(
    benchmark: AnyBenchmark, outcomes: Mapping[str, Outcome], subject: Subject, options: ScoringOptions
) -> ModelScore:
    """The benchmark's score from what is known of its parts."""
    began, result = time.monotonic(), None
    found = {key: _in_order(outcome.found, subject.layers) for key, outcome in outcomes.items()}
    left_out = list(dict.fromkeys(reason for outcome in outcomes.values() for reason in outcome.left_out))
    reason = next((outcome.failed for outcome in outcomes.values() if outcome.failed), None)
    if reason is None and left_out and not all(found.values()):
        reason = left_out[0]
    if reason is None:
        try:
            result = _commit(benchmark, found, options)
            notes = list(dict.fromkeys(part.note for part in benchmark.parts if part.note))
            reason = f"left out: {'; '.join([*notes, *left_out])}" if notes or left_out else None
        except StudyError as error:
            reason = str(error)
    seconds = sum(outcome.seconds for outcome in outcomes.values()) + time.monotonic() - began
    return ModelScore(benchmark, result, reason, seconds)


def _commit(
    benchmark: AnyBenchmark, found: Mapping[str, Mapping[str, LayerEvaluation]], options: ScoringOptions
) -> AlignmentResult:
    if isinstance(benchmark, PooledBenchmark):
        return benchmark.commit(found, options.commitment, options.resamples)
    return benchmark.commit(found[benchmark.key], options.commitment, options.resamples)


def _in_order(found: Mapping[str, LayerEvaluation], layers: Sequence[str]) -> dict[str, LayerEvaluation]:
    """Input side first: of equal layers the first is chosen, whatever the order they came in."""
    known = [layer for layer in layers if layer in found]
    return {layer: found[layer] for layer in dict.fromkeys([*known, *found])}


def checkpoint_facts(info: CheckpointInfo) -> dict[str, object]:
    return {
        "run_id": info.run.run_id,
        "epoch": info.epoch,
        "samples_seen": info.samples_seen,
        "flops": info.flops,
        "accuracy": info.accuracy,
    }


def failed_score(benchmark: AnyBenchmark, common: Mapping[str, object]) -> dict[str, object]:
    """The columns of a score that could not be computed."""
    unknown = dict.fromkeys(AlignmentResult.model_fields)
    known = {
        "benchmark": benchmark.name,
        "region": benchmark.region,
        "metric": benchmark.metric,
        "ceiling_kind": benchmark.ceiling_kind,
        "ceiled": benchmark.ceiled,
        "n_stimuli": benchmark.n_stimuli,
        "status": "failed",
    }
    return unknown | known | dict(common)
