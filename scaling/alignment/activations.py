"""Activations of a model's named layers, by forward hooks, and the preparation of images for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scaling.errors import StudyError, known_names

_RESIZE_BATCH = 64  # images in float32 at their original size at a time


def prepare_images(images: NDArray[np.uint8], image_size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 images as a model's input: scaled to [0, 1], resized bilinearly with antialiasing, normalised.

    Args:
        images: (n, height, width, 3) uint8. image_size: pixels a side of the (square) input.
        mean, std: per channel, in units of [0, 1].

    Returns:
        (n, 3, image_size, image_size) float32, `(x − mean) / std`.

    Raises:
        StudyError: images of another type or shape, a size below 1.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or image_size < 1:
        raise StudyError(
            f"prepare_images: {images.dtype} images of shape {images.shape} for image_size={image_size}; "
            "give uint8 (n, height, width, 3) and a size of at least 1"
        )
    size, shift, scale = (image_size, image_size), *(torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    prepared = torch.empty((len(images), 3, *size))
    for start in range(0, len(images), _RESIZE_BATCH):
        batch = torch.from_numpy(images[start : start + _RESIZE_BATCH].astype(np.float32)).permute(0, 3, 1, 2) / 255.0
        if batch.shape[-2:] != size:
            batch = interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
        prepared[start : start + len(batch)] = (batch - shift) / scale
    return prepared


def collect_activations(
    model: nn.Module, layers: Sequence[str], images: Tensor | NDArray[np.float32], batch_size: int = 64
) -> dict[str, NDArray[np.float32]]:
    """Outputs of named modules on all images, flattened: layer → (n_images, n_features) float32.

    The model runs in eval mode without gradients, batches on its own device, and is left in the mode it was in.
    Convolutional maps and tokens are flattened alike, in memory order. A module that runs more than once a pass
    gives its last output; a module that returns a tuple its first element.

    Args:
        model: any module. layers: names as in `model.named_modules()`. images: (n, channels, height, width), prepared.

    Raises:
        StudyError: an unknown layer, with near matches; a layer that did not run or gave no tensor; no images.
    """
    _check_layers(model, layers)
    if len(images) == 0 or batch_size < 1:
        raise StudyError(f"activations: {len(images)} images in batches of {batch_size}; give at least 1 of each")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    collected: dict[str, NDArray[np.float32]] = {}
    with _recording(model, layers) as outputs, _eval_mode(model), torch.inference_mode():
        for start in range(0, len(images), batch_size):
            outputs.clear()
            batch = images[start : start + batch_size]
            model((batch if isinstance(batch, Tensor) else torch.from_numpy(np.array(batch))).to(device))
            for layer in layers:
                values = _flat(outputs, layer)
                store = collected.setdefault(layer, np.empty((len(images), values.shape[1]), np.float32))
                store[start : start + len(values)] = values
    return collected


def _check_layers(model: nn.Module, layers: Sequence[str]) -> None:
    known = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if layer not in known:
            raise StudyError(f"layer {layer!r} is not in {type(model).__name__}; {known_names(layer, known)}")
    if not layers:
        raise StudyError("activations: no layers; name at least one module of the model")


@contextmanager
def _recording(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """While open, the last output of each layer stands in the dict that this yields."""
    outputs: dict[str, Any] = {}

    def hook(layer: str) -> Callable[..., None]:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[layer] = output

        return record

    handles = [model.get_submodule(layer).register_forward_hook(hook(layer)) for layer in dict.fromkeys(layers)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, each module's own mode back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _flat(outputs: dict[str, Any], layer: str) -> NDArray[np.float32]:
    if layer not in outputs:
        raise StudyError(f"layer {layer!r} did not run in the forward pass; name a module that the model calls")
    output = outputs[layer]
    output = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(output, Tensor):
        raise StudyError(f"layer {layer!r} returns {type(output).__name__}; name a module that returns a tensor")
    return output.detach().float().flatten(start_dim=1).cpu().numpy()
