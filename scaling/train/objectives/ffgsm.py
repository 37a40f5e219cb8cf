"""Fast adversarial training: FGSM from a random start."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from scaling.streams import torch_seed
from scaling.train.batch import Batch, plain
from scaling.train.objectives.base import Objective

GREY_LEVELS = 255


class FFGSM(Objective):
    """Cross-entropy on adversarial images alone: one step of 1.25 eps from a uniform start in the eps ball.

    delta_0 ~ U(-eps, eps); delta = clip(delta_0 + alpha sign(grad CE(x + delta_0)), -eps, eps), and x + delta stays in
    [0, 1] before and after. The model attacks in training mode, as there: batch statistics, counted in its averages.

    Source: Wong et al. (2020), algorithm 3.
    """

    def build(self, model: nn.Module) -> None:
        self.random = torch.Generator(self.setting.mean.device)

    def seed(self, place: tuple[int, int]) -> None:
        assert self.random is not None
        self.random.manual_seed(torch_seed("attack", self.setting.seed, *place))

    def with_noise(self, batch: Batch) -> Batch:
        """Uniform in [0, 1), (n, 3, h, w)."""
        if batch.place is not None:
            self.seed(batch.place)
        images = batch.images
        size = (batch.n_global, *images.shape[1:])
        return replace(batch, noise=torch.rand(size, generator=self.random, device=images.device)[batch.share])

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        return self.classification_loss(network(self.attack(plain(network), batch)), batch)

    def attack(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """(n, 3, h, w) adversarial images."""
        assert batch.noise is not None
        images, mean, std = batch.images, self.setting.mean, self.setting.std
        low, high = -mean / std, (1 - mean) / std  # black and white on the scale of the images
        radius = self.options.epsilon / GREY_LEVELS / std
        start = (images + (2 * batch.noise - 1) * radius).clamp(low, high).requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.classification_loss(model(start), batch), start)
        moved = start.detach() + self.options.step * radius * gradient.sign()
        return moved.clamp(images - radius, images + radius).clamp(low, high)
