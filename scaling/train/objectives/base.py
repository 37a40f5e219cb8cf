"""What every objective is: extra modules, the loss of a batch, what follows a step, and which model is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from scaling.models.mup import Drawn
from scaling.models.mup.parametrize import parametrize
from scaling.train.batch import Batch, Setting, penultimate
from scaling.train.losses import classification_loss


class Objective(nn.Module):
    """An objective; a subclass gives `loss`, and where it has them `build`, `after_step` and `evaluated`.

    All its state is in `state_dict()`: parameters that need gradients are trained beside the model's, the rest
    (a teacher, a centre) is kept by the objective itself. Random numbers come from (seed, stream, epoch, step).
    """

    readout: ClassVar[bool] = False  # True: accuracy is a linear readout's, for a classifier that is not trained
    n_views: ClassVar[int] = 0  # of an image that its loss makes from the batch's `views`, if a captured step has them
    on_host: ClassVar[str | None] = None  # what of a step is decided on the host, so that no graph can hold it

    def __init__(self, setting: Setting, model: nn.Module) -> None:
        super().__init__()
        self.setting, self.options = setting, setting.options
        self.random: torch.Generator | None = None
        self.build(model)

    def build(self, model: nn.Module) -> None:
        """Make the extra modules, from torch's global generator."""

    def seed(self, place: tuple[int, int]) -> None:
        """Seed `random`, which draws noise as large as the images, for step (epoch, step): on the host, before it."""

    def with_noise(self, batch: Batch) -> Batch:
        """The batch with what its loss needs of `random`; drawn for the global batch, whatever the workers.

        Where the batch does not know its place, `seed` was called before.
        """
        return batch

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

    def build_head(self, build: Callable[[int], nn.Module], model: nn.Module, drawn: Drawn) -> nn.Module:
        """`build(n_features)`, parametrized as the model is; drawn: how its initialiser follows the fans."""
        width, base = self.n_features(model), self.setting.n_base_features
        made = build(width)
        if base not in (None, width):
            with torch.device("meta"):
                twin = build(base)
            parametrize(made, twin, drawn)
        return made

    def n_features(self, model: nn.Module) -> int:
        side, mode = self.setting.image_size, model.training
        with torch.no_grad():
            width = self.features(model.eval(), torch.zeros_like(self.setting.mean).expand(1, 3, side, side)).shape[1]
        model.train(mode)
        return width
