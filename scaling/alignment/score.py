"""One model against benchmarks: its layers' representations once a stimulus set, then every benchmark on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from scaling.alignment.benchmark import AlignmentResult, Benchmark, evaluate_layer, group_alike
from scaling.alignment.commitment import LayerEvaluation
from scaling.alignment.features.activations import check_layers
from scaling.alignment.features.extraction import layer_representations
from scaling.alignment.features.gradients import input_gradients
from scaling.alignment.features.layer_maps import layer_maps
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.protocol import Protocol
from scaling.alignment.scoring import ScoringOptions
from scaling.checkpoints.weights import CheckpointInfo, load_weights
from scaling.errors import StudyError
from scaling.models import candidate_layers
from scaling.records import AlignmentRecord, ResultsStore

if TYPE_CHECKING:
    from torch import nn

    from scaling.storage import Storage


@dataclass(frozen=True)
class Subject:
    """A model as it is shown stimuli; layers that may be committed to, input side first, the readout layer last."""

    model: nn.Module
    layers: Sequence[str]
    preprocessing: Preprocessing


def score_checkpoint(
    storage: Storage,
    run_id: str,
    epoch: int,
    benchmarks: Sequence[Benchmark],
    options: ScoringOptions,
    protocols: Mapping[str, Protocol],
    device: str = "cpu",
) -> list[AlignmentRecord]:
    """Score a run's checkpoint on those benchmarks that it has no score of by their protocols; the store keeps all.

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
    before = store.read_checkpoint_scores(run_id, epoch)
    there = [r for r in before if r.status == "scored" and _made(r, protocols)]
    missing = [b for b in benchmarks if b.name not in {record.benchmark for record in there}]
    known = [record for record in there if record.benchmark in {b.name for b in benchmarks}]
    if not missing:
        return known
    model, info = load_weights(storage, run_id, epoch)
    preprocessing = Preprocessing.square(info.image_size, info.mean, info.std)
    subject = Subject(model.to(device), candidate_layers(info.run.model, model), preprocessing)
    with threadpool_limits(1):
        scores = score_model(subject, missing, options)
    facts = checkpoint_facts(info)
    new = [
        AlignmentRecord.model_validate(facts | {"protocol": protocols[score.benchmark].text} | score.columns())
        for score in scores
    ]
    new.sort(key=lambda record: record.benchmark)
    store.write_scores(new)
    return sorted([*known, *new], key=lambda record: record.benchmark)


def _made(record: AlignmentRecord, protocols: Mapping[str, Protocol]) -> bool:
    return record.benchmark in protocols and protocols[record.benchmark].made(record.protocol)


@dataclass(frozen=True)
class ModelScore:
    """A model on one benchmark: the result, or why there is none (or which layers were left out, and why).

    score_s: seconds of the metric's work alone.
    """

    of: Benchmark
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
        facts = self.result.model_dump(exclude={"layer_scores"})
        return facts | common | {"status": "scored", "layer_scores": json.dumps(self.result.layer_scores)}


def score_model(subject: Subject, benchmarks: Sequence[Benchmark], options: ScoringOptions) -> list[ModelScore]:
    """A model on all benchmarks; each layer is shown each stimulus set once, and scored as soon as it is known.

    A benchmark that cannot be computed does not stop the others.
    """
    groups, scores = dict[tuple[str, str], list[Benchmark]](), list[ModelScore]()
    for benchmark in benchmarks:
        try:
            groups.setdefault((benchmark.stimuli.key, benchmark.needs), []).append(benchmark)
        except StudyError as error:  # its images are not readable here
            scores.append(ModelScore(benchmark, None, f"benchmark {benchmark.name}: {error}", 0.0))
    for group in groups.values():
        scores += _StimulusScoring(subject, group, options).run()
    return scores


class _StimulusScoring:
    """A model on benchmarks of one stimulus set that need the same of its layers."""

    def __init__(self, subject: Subject, benchmarks: Sequence[Benchmark], options: ScoringOptions) -> None:
        self._subject, self._benchmarks, self._options = subject, benchmarks, options
        self._found: dict[str, dict[str, LayerEvaluation]] = {b.name: {} for b in benchmarks}
        self._seconds = dict.fromkeys(self._found, 0.0)
        self._failed: dict[str, str] = {}
        self._left_out: dict[str, list[str]] = {b.name: [] for b in benchmarks}

    def run(self) -> list[ModelScore]:
        try:
            self._evaluate_layers()
        except StudyError as error:  # of the model or its features: no benchmark can be scored
            self._failed = {benchmark.name: str(error) for benchmark in self._benchmarks} | self._failed
        return [self._commit(benchmark) for benchmark in self._benchmarks]

    def _evaluate_layers(self) -> None:
        commitment = self._options.commitment
        wanted = self._candidates()
        order = dict.fromkeys([*self._subject.layers, *(layer for layers in wanted.values() for layer in layers)])
        layers = [layer for layer in order if any(layer in candidates for candidates in wanted.values())]
        for layer, values in self._stream(layers) if layers else ():
            here = [b for b in self._benchmarks if b.name not in self._failed and layer in wanted[b.name]]
            for alike in group_alike(here, commitment):
                self._evaluate(layer, values, alike)

    def _candidates(self) -> dict[str, list[str]]:
        """Benchmark → the layers it may be committed to; one that names no layer of this model fails alone."""
        wanted: dict[str, list[str]] = {}
        for benchmark in self._benchmarks:
            layers = benchmark.candidates(list(self._subject.layers), self._options.commitment)
            try:
                if benchmark.needs != "saliency":
                    check_layers(self._subject.model, layers)
            except StudyError as error:
                self._failed[benchmark.name] = f"benchmark {benchmark.name}: {error}"
                continue
            wanted[benchmark.name] = layers
        return wanted

    def _stream(self, layers: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """What the benchmarks need of each layer, as it is computed; of saliency there is one."""
        first, o = self._benchmarks[0], self._options
        shown = (self._subject.model, layers, first.stimuli, self._subject.preprocessing, o.budget)
        if first.needs == "maps":
            return layer_maps(*shown, progress=o.progress)
        if first.needs == "saliency":
            return input_gradients(*shown, progress=o.progress)
        return layer_representations(*shown, reduction=o.reduction, cache=o.cache, progress=o.progress)

    def _evaluate(self, layer: str, values: Any, alike: Sequence[Benchmark]) -> None:
        began = time.monotonic()
        try:
            found = evaluate_layer(layer, values, alike, self._options.commitment)
        except StudyError as error:  # of this layer, such as one with fewer features than PLS has components
            for benchmark in alike:
                self._left_out[benchmark.name].append(str(error))
            return
        for benchmark in alike:
            self._found[benchmark.name][layer] = found[benchmark.name]
            self._seconds[benchmark.name] += (time.monotonic() - began) / len(alike)

    def _commit(self, benchmark: Benchmark) -> ModelScore:
        began, result = time.monotonic(), None
        found, left_out = self._in_order(self._found[benchmark.name]), self._left_out[benchmark.name]
        reason = self._failed.get(benchmark.name)
        if reason is None and left_out and not found:
            reason = left_out[0]
        if reason is None:
            try:
                result = benchmark.commit(found, self._options.commitment, self._options.resamples)
                reason = f"left out: {'; '.join(left_out)}" if left_out else None
            except StudyError as error:
                reason = str(error)
        seconds = self._seconds[benchmark.name] + time.monotonic() - began
        return ModelScore(benchmark, result, reason, seconds)

    def _in_order(self, found: Mapping[str, LayerEvaluation]) -> dict[str, LayerEvaluation]:
        """Input side first: of equal layers the first is chosen, whatever the order they came in."""
        known = [layer for layer in self._subject.layers if layer in found]
        return {layer: found[layer] for layer in dict.fromkeys([*known, *found])}


def checkpoint_facts(info: CheckpointInfo) -> dict[str, object]:
    return {
        "run_id": info.run.run_id,
        "epoch": info.epoch,
        "samples_seen": info.samples_seen,
        "flops": info.flops,
        "accuracy": info.accuracy,
    }


def failed_score(benchmark: Benchmark, common: Mapping[str, object]) -> dict[str, object]:
    """The columns of a score that could not be computed."""
    unknown = dict.fromkeys(AlignmentResult.model_fields)
    known = {
        "benchmark": benchmark.name,
        "region": benchmark.region,
        "metric": benchmark.metric,
        "ceiling_kind": benchmark.ceiling_kind,
        "ceiled": benchmark.ceiled,
        "n_stimuli": len(benchmark.stimuli),
        "status": "failed",
    }
    return unknown | known | dict(common)
