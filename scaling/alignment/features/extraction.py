"""One Representation a layer of a model on stimuli, in bounded memory, whatever the layers' widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scaling.alignment.features.activations import (
    Extract,
    LayerProbe,
    check_layers,
    check_width,
    probe_model,
    stream_activations,
)
from scaling.alignment.features.cache import FeatureFacts, RepresentationCache, weights_hash
from scaling.alignment.features.kept_images import KeptImages
from scaling.alignment.features.passes import (
    FORWARD_COPIES,
    ColumnRange,
    FeatureBudget,
    LayerCost,
    Pass,
    Workload,
    choose_batch_size,
    plan_passes,
)
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.reduction import ImageSequence, Reduction
from scaling.alignment.features.representation import GramAccumulator, Representation
from scaling.alignment.features.spill import ColumnStore, open_columns
from scaling.errors import StudyError

__all__ = ["FeatureBudget", "layer_representations"]

PassProgress = Callable[[str, int, int], None]  # what is being done, images shown so far, images to show in all passes
LeaveOut = Callable[[str, str], None]  # a layer, why it is left out


def layer_representations(
    model: nn.Module,
    layers: Sequence[str],
    stimuli: ImageSequence,
    preprocessing: Preprocessing | None,
    budget: FeatureBudget | None = None,
    *,
    reduction: Reduction | None = None,
    cache: RepresentationCache | None = None,
    kept: KeptImages | None = None,
    progress: PassProgress | None = None,
    leave_out: LeaveOut | None = None,
) -> Iterator[tuple[str, Representation]]:
    """(layer, Representation) of each layer, as layers are completed: those in the cache first, then as they run.

    Equal to `Representation.of` on `collect_activations` in the same batches, to the bit, whatever the budget. Each
    is the caller's: score it and drop it, and no two are in memory at a time. Memory stays within the budget while
    the caller holds none; see `plan_passes` for the passes over the images.

    Args:
        model: any module, on the device on which it shall run. layers: names as in `model.named_modules()`.
        stimuli: n images, read once for every pass. preprocessing: from uint8 images to the model's input; None for
            images that come prepared. budget: memory and disk. reduction: what is made of a layer's features; None:
            nothing. cache: where representations are kept. kept: images that are prepared already, and those to keep.
        progress: called after every batch and before every layer.
        leave_out: hears of each layer that cannot be streamed and why, see `probe_model`; the others go on. None: such
            a layer is an error.

    Raises:
        StudyError: an unknown layer, with near matches; fewer than 3 stimuli; a budget that is too small, with what
            is needed; a layer that does not run, has no tensor or one of varying width; features that are not finite.
    """
    layers = list(dict.fromkeys(layers))
    check_layers(model, layers)
    if len(stimuli) < 3:
        raise StudyError(f"features: {len(stimuli)} stimuli; give at least 3")
    job = _Job(model, stimuli, preprocessing, budget or FeatureBudget(), reduction or Reduction(), kept)
    progress = progress or (lambda what, done, total: None)
    if cache is None:
        return _computed(job, layers, progress, leave_out)
    return _cached(job, layers, progress, cache, leave_out)


def _cached(
    job: _Job, layers: Sequence[str], progress: PassProgress, cache: RepresentationCache, leave_out: LeaveOut | None
) -> Iterator[tuple[str, Representation]]:
    facts, missing = job.facts(), []
    for layer in layers:
        found = cache.load(facts(layer).key())
        if found is None:
            missing.append(layer)
        else:
            yield layer, found
            del found
    if missing:
        for layer, representation in _computed(job, missing, progress, leave_out):
            cache.store(facts(layer).key(), representation)
            yield layer, representation
            del representation


def _computed(
    job: _Job, layers: Sequence[str], progress: PassProgress, leave_out: LeaveOut | None
) -> Iterator[tuple[str, Representation]]:
    """Pass after pass: gather columns from the images, then add them to Gram matrices block by block."""
    probe = probe_model(job.model, layers, job.first_image(), leave_out)
    if not probe.widths:
        return
    work, passes = job.plan(probe)
    total, grams = len(passes) * work.n_images, dict[str, GramAccumulator]()
    for number, step in enumerate(passes):
        blocks, name = _Blocks(step, work.block_width), f"pass {number + 1} of {len(passes)}"
        with job.open_columns(blocks.widths, step.in_memory) as store:
            for row in _gather(job, probe, blocks, work, store):
                progress(f"{name}: images", number * work.n_images + row, total)
            for columns, numbers in blocks.of.items():
                layer, width = columns.layer, probe.widths[columns.layer]
                progress(f"{name}: {layer}", (number + 1) * work.n_images, total)
                if layer not in grams:
                    grams[layer] = GramAccumulator(job.gram_rows(width))
                _accumulate(grams[layer], layer, store, numbers, job.gram_rows(width))
                if columns.stop == job.reduction.width(width):
                    yield layer, job.reduction.finish(grams.pop(layer).finish(), len(job.stimuli))


def _gather(job: _Job, probe: LayerProbe, blocks: _Blocks, work: Workload, store: ColumnStore) -> Iterator[int]:
    """Run all images up to the last layer of the pass and store its columns; yields the images done."""
    extract = {columns.layer: _extract(job, columns, probe.widths[columns.layer]) for columns in blocks.of}
    calls, row = {layer: probe.calls[layer] for layer in extract}, 0
    for values in stream_activations(job.model, extract, job.batches(work.batch_size), calls):
        for columns, numbers in blocks.of.items():
            for block, inside in numbers.items():
                store.put(row, block, values[columns.layer][:, inside])
        row += len(values[columns.layer])
        yield row
    if row != work.n_images:
        raise StudyError(f"features: {row:,} images came of {work.n_images:,} announced; give stimuli that stay")


def _extract(job: _Job, columns: ColumnRange, width: int) -> Extract:
    """ColumnRange of a reduced layer, refused where an output has not the width that the first image's had."""
    kept = job.reduction.extract(width, slice(columns.start, columns.stop))

    def extract(output: Tensor) -> NDArray[np.floating]:
        check_width(columns.layer, output.shape[1], width)
        return kept(output)

    return extract


def _accumulate(gram: GramAccumulator, layer: str, store: ColumnStore, numbers: dict[int, slice], n_rows: int) -> None:
    for number in numbers:
        try:
            gram.add(store.take(number)[:n_rows])
        except StudyError as error:
            raise StudyError(f"layer {layer!r}: {error}") from error


class _Blocks:
    """The blocks of a pass, numbered through its layers.

    Attributes:
        widths: of each block. of: columns of a layer → number of a block → where it lies among these columns.
    """

    def __init__(self, step: Pass, block_width: int) -> None:
        self.widths: list[int] = []
        self.of: dict[ColumnRange, dict[int, slice]] = {}
        for columns in step.columns:
            width, self.of[columns] = columns.stop - columns.start, {}
            for start in range(0, width, block_width):
                inside = slice(start, min(start + block_width, width))
                self.of[columns][len(self.widths)] = inside
                self.widths.append(inside.stop - inside.start)


@dataclass(frozen=True)
class _Job:
    """A model, its stimuli and how features are computed."""

    model: nn.Module
    stimuli: ImageSequence
    preprocessing: Preprocessing | None
    budget: FeatureBudget
    reduction: Reduction
    kept: KeptImages | None = None

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"f{self.reduction.itemsize}")  # of stored values

    def _sources(self) -> list[ImageSequence]:
        fitted_on = self.reduction.fitted_on()
        return [self.stimuli] if fitted_on is None else [self.stimuli, fitted_on]

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """The stimuli, then the images that the reduction is fitted on, as the model's input."""
        return chain.from_iterable(self._prepared(source, batch_size) for source in self._sources())

    def _prepared(self, source: ImageSequence, batch_size: int) -> Iterator[Tensor]:
        if self.preprocessing is None:
            return (torch.from_numpy(np.array(images)) for images in source.batches(batch_size))
        if self.kept is None:
            return map(self.preprocessing.apply, source.batches(batch_size))
        return self.kept.batches(source, self.preprocessing, batch_size)

    def first_image(self) -> Tensor:
        return next(self.batches(1))

    def gram_rows(self, width: int) -> int:
        return self.reduction.gram_rows(width, len(self.stimuli), self._n_images())

    def _n_images(self) -> int:
        return sum(len(source) for source in self._sources())

    def open_columns(self, widths: Sequence[int], in_memory: bool) -> AbstractContextManager[ColumnStore]:
        folder, buffer_bytes = self.budget.spill_folder, self.budget.buffer_bytes
        return open_columns(self._n_images(), widths, self.dtype, folder, in_memory, buffer_bytes)

    def plan(self, probe: LayerProbe) -> tuple[Workload, list[Pass]]:
        batch_size = choose_batch_size(probe.image_bytes, self.budget)
        largest_weight = max((p.nbytes for p in self.model.parameters()), default=0)  # oneDNN reorders it in a copy
        work = Workload(
            n_images=self._n_images(),
            itemsize=self.dtype.itemsize,
            batch_size=batch_size,
            forward_bytes=FORWARD_COPIES * probe.image_bytes * batch_size + largest_weight,
        )
        costs = [
            LayerCost(layer, self.reduction.width(width), self.reduction.held_bytes(width, batch_size))
            for layer, width in probe.widths.items()
        ]
        return work, plan_passes(costs, work, self.budget)

    def facts(self) -> Callable[[str], FeatureFacts]:
        """Layer → what its representation depends on; the weights are hashed once."""
        weights = weights_hash(self.model)
        device = next((p.device.type for p in self.model.parameters()), "cpu")

        def of_layer(layer: str) -> FeatureFacts:
            return FeatureFacts(
                weights=weights,
                layer=layer,
                stimuli=self.stimuli.key,
                preprocessing=None if self.preprocessing is None else self.preprocessing.identity(),
                reduction=self.reduction.identity(),
                batch_size=self.budget.batch_size,
                device=device,
            )

        return of_layer
