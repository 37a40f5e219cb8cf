"""What every objective is: extra modules, the loss of a batch, what follows a step, and which model is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scaling.train.losses import classification_loss

if TYPE_CHECKING:
    from scaling.study import TrainingSpec

VIEW_STREAM, ATTACK_STREAM, MODEL_STREAM = 3, 4, 5  # beside those of `batches`


@dataclass(frozen=True)
class Setting:
    """What an objective is built for.

    options: its own spec. layer: the penultimate one. mean, std: (1, 3, 1, 1), by which images were scaled.
    """

    options: Any
    training: TrainingSpec
    seed: int
    layer: str
    image_size: int
    steps_per_epoch: int
    mean: torch.Tensor
    std: torch.Tensor

    @property
    def total_steps(self) -> int:
        return self.training.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Batch:
    """One worker's share of a global batch.

    images: (n, 3, h, w) scaled and augmented as `training.augmentation` says. labels: (n,). place: (epoch, step).
    share: which of the n_global images these are. maps: (n, h, w) augmented with their images, 0 where an image has
    none; has_map: (n,) bool; both None in a data set without maps. targets: (n, classes) of mixed images, else None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    place: tuple[int, int]
    share: slice | np.ndarray
    n_global: int
    maps: torch.Tensor | None = None
    has_map: torch.Tensor | None = None
    targets: torch.Tensor | None = None

    def parts(self, n: int) -> list[Batch]:
        """The share in n micro-batches, whose sizes differ by at most one image."""
        if n == 1:
            return [self]
        places = np.arange(self.n_global)[self.share]
        return [self._part(index, places[index]) for index in np.array_split(np.arange(len(places)), n)]

    def _part(self, index: np.ndarray, places: np.ndarray) -> Batch:
        where = slice(int(index[0]), int(index[-1]) + 1)
        tensors = {name: getattr(self, name) for name in ("images", "labels", "maps", "has_map", "targets")}
        cut: dict[str, Any] = {name: None if tensor is None else tensor[where] for name, tensor in tensors.items()}
        return replace(self, share=places, **cut)


class Objective(nn.Module):
    """An objective; a subclass gives `loss`, and where it has them `build`, `after_step` and `evaluated`.

    All its state is in `state_dict()`: parameters that need gradients are trained beside the model's, the rest
    (a teacher, a centre) is kept by the objective itself. Random numbers come from (seed, stream, epoch, step).
    """

    readout: ClassVar[bool] = False  # True: accuracy is a linear readout's, for a classifier that is not trained

    def __init__(self, setting: Setting, model: nn.Module) -> None:
        super().__init__()
        self.setting, self.options = setting, setting.options
        self.build(model)

    def build(self, model: nn.Module) -> None:
        """Make the extra modules, from torch's global generator."""

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss summed over the share's images; `network` is the model, or it in DistributedDataParallel."""
        raise NotImplementedError

    def after_step(self, model: nn.Module, step: int) -> None:
        """Called after optimizer step `step`, from 0 to total_steps - 1."""

    def evaluated(self, model: nn.Module) -> nn.Module:
        """The model that is measured and kept."""
        return model

    def classification_loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The run's `training.loss`, summed over the share's images, with its label smoothing."""
        training = self.setting.training
        target = batch.labels if batch.targets is None else batch.targets
        return classification_loss(training.loss, logits, target, training.label_smoothing)

    def features(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        return penultimate(model, self.setting.layer, images)

    def n_features(self, model: nn.Module) -> int:
        side, mode = self.setting.image_size, model.training
        with torch.no_grad():
            width = self.features(model.eval(), torch.zeros_like(self.setting.mean).expand(1, 3, side, side)).shape[1]
        model.train(mode)
        return width


def penultimate(model: nn.Module, layer: str, images: torch.Tensor) -> torch.Tensor:
    """(n, d) activations of the named layer, flattened; gradients flow through them."""
    found: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, given, output: found.append(output))
    try:
        model(images)
    finally:
        handle.remove()
    return found[0].flatten(1)


def plain(network: nn.Module) -> nn.Module:
    """The model itself: what it computes outside the step's own backward pass is not to be averaged over workers."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def numpy_random(seed: int, stream: int, place: tuple[int, int], *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, *place, *more])


def device_random(seed: int, stream: int, place: tuple[int, int], device: torch.device) -> torch.Generator:
    """A generator on the device, for noise as large as the images."""
    words = np.random.SeedSequence([seed, stream, *place]).generate_state(2)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
