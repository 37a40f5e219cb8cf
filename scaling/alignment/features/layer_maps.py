"""A layer's output as maps, for the few images of spatially resolved recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scaling.alignment.features.activations import check_layers, collect_activations, probe_model
from scaling.alignment.features.extraction import FeatureBudget, PassProgress
from scaling.alignment.features.feature_maps import feature_maps, has_maps
from scaling.alignment.features.passes import GB, choose_batch_size
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.reduction import ImageSequence
from scaling.errors import StudyError

MAP_BYTES = 32  # per value: float32 as collected, float64 as binned, copies; 21 measured on maps wider than the grid


def layer_maps(
    model: nn.Module,
    layers: Sequence[str],
    stimuli: ImageSequence,
    preprocessing: Preprocessing,
    budget: FeatureBudget,
    *,
    progress: PassProgress | None = None,
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """(layer, (n_stimuli, height, width, n_channels) maps), one layer and one run of the model at a time.

    Layers whose output has a single location, or none, have no maps and are left out. All stimuli are in memory, as
    the model's input: there are few.

    Raises:
        StudyError: as `collect_activations`; a layer whose maps of all stimuli exceed the budget's memory.
    """
    images = torch.cat([preprocessing.apply(batch) for batch in stimuli.batches(1)])
    shapes, image_bytes = _output_shapes(model, layers, images[:1])
    batch_size = choose_batch_size(image_bytes, budget)
    spatial = [layer for layer in layers if has_maps(shapes[layer])]
    for number, layer in enumerate(spatial):
        needed = len(images) * int(np.prod(shapes[layer])) * MAP_BYTES / GB
        if needed > budget.memory_gb:
            raise StudyError(
                f"layer {layer!r}: maps of {len(images)} images need {needed:.3g} GB, more than "
                f"memory_gb={budget.memory_gb:g}; raise it, or name layers with smaller maps"
            )
        if progress is not None:
            progress(f"maps of {len(images)} images: layers", number, len(spatial))
        flat = collect_activations(model, [layer], images, batch_size)[layer]
        yield layer, feature_maps(flat.reshape(len(images), *shapes[layer]))
        del flat


def _output_shapes(model: nn.Module, layers: Sequence[str], image: Tensor) -> tuple[dict[str, tuple[int, ...]], int]:
    """Layer → shape of its output for one image; bytes of the largest tensor between two modules."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            shapes[layer] = tuple(getattr(first, "shape", ()))[1:]  # the probe refuses what is no tensor

        return hook

    check_layers(model, layers)
    handles = [model.get_submodule(layer).register_forward_hook(note(layer)) for layer in layers]
    try:
        return shapes, probe_model(model, layers, image).image_bytes
    finally:
        for handle in handles:
            handle.remove()
