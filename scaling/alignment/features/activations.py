"""Activations of a model's named layers, by forward hooks, and the preparation of images for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scaling.errors import StudyError, known_names

_RESIZE_BATCH = 64  # images in float32 at their original size at a time

Extract = Callable[[Tensor], NDArray[np.floating]]  # (batch, n_features) tensor of a layer -> what is kept of it


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
    gives its last output; a module that returns a tuple its first element. The output is copied as the module
    returns it: what later modules do to it in place is not seen.

    Args:
        model: any module. layers: names as in `model.named_modules()`. images: (n, channels, height, width), prepared.

    Raises:
        StudyError: an unknown layer, with near matches; a layer that did not run, gave no tensor, or whose outputs
            differ in width between images; no images.
    """
    check_layers(model, layers)
    if len(images) == 0 or batch_size < 1:
        raise StudyError(f"activations: {len(images)} images in batches of {batch_size}; give at least 1 of each")
    starts = range(0, len(images), batch_size)
    slices = (images[start : start + batch_size] for start in starts)
    batches = (batch if isinstance(batch, Tensor) else torch.from_numpy(np.array(batch)) for batch in slices)
    collected: dict[str, NDArray[np.float32]] = {}
    streamed = stream_activations(model, dict.fromkeys(layers, copy_columns), batches)
    for start, values in zip(starts, streamed, strict=True):
        for layer in layers:
            found = values[layer]
            store = collected.setdefault(layer, np.empty((len(images), found.shape[1]), np.float32))
            check_width(layer, found.shape[1], store.shape[1])
            store[start : start + len(found)] = found
    return collected


def stream_activations(
    model: nn.Module, extract: Mapping[str, Extract], batches: Iterable[Tensor], calls: Mapping[str, int] | None = None
) -> Iterator[dict[str, NDArray[Any]]]:
    """For each batch: layer → what `extract[layer]` makes of the layer's flattened (batch, n_features) output.

    `extract` is called while the forward pass stands still just behind the layer, so it must copy what it keeps.
    Modes, devices and repeated modules are treated as `collect_activations` does.

    Args:
        model: any module. extract: by layer name. batches: prepared (batch, channels, height, width) tensors.
        calls: how often each layer runs in a forward pass (`probe_model` counts). The pass then ends as soon as all
            have, so that early layers of a deep model cost little. None: every pass runs to its end.

    Raises:
        StudyError: an unknown layer, a layer that did not run or gave no tensor with one row an image.
    """
    check_layers(model, list(extract))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with _recording(model, extract, calls) as recorder, _eval_mode(model):
        for batch in batches:
            recorder.start(len(batch))
            with torch.inference_mode():  # not around the yield: it would reach into the caller
                _forward(model, batch.to(device))
            for layer in extract:
                if layer not in recorder.values:
                    raise _did_not_run(layer)
            yield dict(recorder.values)


def copy_columns(output: Tensor, columns: slice = slice(None)) -> NDArray[np.float32]:
    """A float32 copy of some columns of (batch, n_features), contiguous, in host memory."""
    return np.array(output[:, columns].detach().float().cpu().numpy(), order="C")


@dataclass(frozen=True)
class LayerProbe:
    """What one image told about layers.

    Attributes:
        widths: features of each layer, in the order in which the layers last ran. calls: runs in a forward pass.
        image_bytes: the largest tensor that stands between two modules, per image.
    """

    widths: dict[str, int]
    calls: dict[str, int]
    image_bytes: int


def probe_model(
    model: nn.Module, layers: Sequence[str], image: Tensor, leave_out: Callable[[str, str], None] | None = None
) -> LayerProbe:
    """Widths, order and repetitions of layers and the size of a forward pass, from one (1, 3, height, width) image.

    Args:
        leave_out: hears of each layer that has no one row of features an image, and why: one that runs with several
            widths in a pass (a branch for each scale), does not run, or returns no such tensor. None: the first of them
            is an error.

    Raises:
        StudyError: as `stream_activations`.
    """
    check_layers(model, layers)
    runs = _Runs(dict.fromkeys(layers, 0))
    largest = [image.nbytes]

    def measure(module: nn.Module, inputs: Any, output: Any) -> None:
        largest.append(output.nbytes if isinstance(output, Tensor) else 0)

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    handles = [module.register_forward_hook(measure) for module in model.modules()]
    handles += [model.get_submodule(layer).register_forward_hook(runs.hook(layer, len(image))) for layer in layers]
    try:
        with _eval_mode(model), torch.inference_mode():
            _forward(model, image.to(device))
    finally:
        _remove(handles)
    for layer, reason in runs.odd().items():
        if leave_out is None:
            raise StudyError(reason)
        leave_out(layer, reason)
        runs.widths.pop(layer, None)
    return LayerProbe(runs.widths, runs.calls, max(largest))


@dataclass
class _Runs:
    """What hooks saw of layers in one pass: calls; widths in the order of the last runs; all widths; what is no row."""

    calls: dict[str, int]
    widths: dict[str, int] = field(default_factory=dict)
    seen: dict[str, set[int]] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)

    def hook(self, layer: str, n_images: int) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            self.calls[layer] += 1
            self.widths.pop(layer, None)
            try:
                self.widths[layer] = _flat(layer, output, n_images).shape[1]
                self.seen.setdefault(layer, set()).add(self.widths[layer])
            except StudyError as error:
                self.bad[layer] = str(error)

        return note

    def odd(self) -> dict[str, str]:
        """Layers without one row of features an image -> why."""
        found = {layer: str(_did_not_run(layer)) for layer, calls in self.calls.items() if not calls} | self.bad
        for layer, widths in self.seen.items():
            if layer not in found and len(widths) > 1:
                told = " and ".join(f"{width:,}" for width in sorted(widths))
                found[layer] = f"layer {layer!r} runs several times a pass, with {told} features; name another module"
        return {layer: found[layer] for layer in self.calls if layer in found}


def check_layers(model: nn.Module, layers: Sequence[str]) -> None:
    """Refuse names that are no modules of the model.

    Raises:
        StudyError: an unknown layer, with near matches; no layers.
    """
    known = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if layer not in known:
            raise StudyError(f"layer {layer!r} is not in {type(model).__name__}; {known_names(layer, known)}")
    if not layers:
        raise StudyError("activations: no layers; name at least one module of the model")


def check_width(layer: str, width: int, expected: int) -> None:
    """Refuse a layer whose outputs differ in width between images."""
    if width != expected:
        raise StudyError(
            f"layer {layer!r} has {width:,} features for one batch of images and {expected:,} for another; "
            "give images of one size, or a module whose output does not depend on them"
        )


class _AllRan(BaseException):
    """Ends a forward pass behind the last layer that is wanted; no Exception, so that no model catches it."""


class _Recorder:
    """What the hooks of one forward pass have extracted so far."""

    def __init__(self, calls: Mapping[str, int] | None) -> None:
        self._calls = sum(calls.values()) if calls else 0
        self.start(0)

    def start(self, batch_size: int) -> None:
        self.values: dict[str, NDArray[Any]] = {}
        self._batch_size, self._left = batch_size, self._calls

    def record(self, layer: str, extract: Extract, output: Any) -> None:
        self.values[layer] = extract(_flat(layer, output, self._batch_size))
        self._left -= 1
        if self._left == 0:
            raise _AllRan


@contextmanager
def _recording(
    model: nn.Module, extract: Mapping[str, Extract], calls: Mapping[str, int] | None
) -> Iterator[_Recorder]:
    """While open, every run of a layer is recorded in what this yields."""
    recorder = _Recorder(calls)

    def hook(layer: str) -> Callable[..., None]:
        return lambda module, inputs, output: recorder.record(layer, extract[layer], output)

    handles = [model.get_submodule(layer).register_forward_hook(hook(layer)) for layer in extract]
    try:
        yield recorder
    finally:
        _remove(handles)


def _remove(handles: Iterable[Any]) -> None:
    for handle in handles:
        handle.remove()


def _forward(model: nn.Module, batch: Tensor) -> None:
    try:
        model(batch)
    except _AllRan:
        return


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


def _flat(layer: str, output: Any, batch_size: int) -> Tensor:
    output = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(output, Tensor):
        raise StudyError(f"layer {layer!r} returns {type(output).__name__}; name a module that returns a tensor")
    if output.ndim == 0 or len(output) != batch_size or output.numel() == 0:
        raise StudyError(
            f"layer {layer!r} returns shape {tuple(output.shape)} for {batch_size} images; "
            "name a module with one row an image, none empty"
        )
    return output.reshape(batch_size, -1)


def _did_not_run(layer: str) -> StudyError:
    return StudyError(f"layer {layer!r} did not run in the forward pass; name a module that the model calls")
