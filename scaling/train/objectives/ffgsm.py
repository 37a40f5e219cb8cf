"""Fast adversarial training: FGSM from a random start."""

from __future__ import annotations

import torch
from torch import nn

from scaling.train.batch import Batch, device_random, plain
from scaling.train.objectives.base import Objective

GREY_LEVELS = 255


class FFGSM(Objective):
    """Cross-entropy on adversarial images alone: one step of 1.25 eps from a uniform start in the eps ball.

    delta_0 ~ U(-eps, eps); delta = clip(delta_0 + alpha sign(grad CE(x + delta_0)), -eps, eps), and x + delta stays in
    [0, 1] before and after. The model attacks in training mode, as there: batch statistics, counted in its averages.

    Source: Wong et al. (2020), algorithm 3.
    """

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        return self.classification_loss(network(self.attack(plain(network), batch)), batch)

    def attack(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """(n, 3, h, w) adversarial images; the noise does not depend on the number of workers."""
        images, mean, std = batch.images, self.setting.mean, self.setting.std
        low, high = -mean / std, (1 - mean) / std  # black and white on the scale of the images
        radius = self.options.epsilon / GREY_LEVELS / std
        random = device_random("attack", self.setting.seed, batch.place, images.device)
        noise = torch.rand((batch.n_global, *images.shape[1:]), generator=random, device=images.device)[batch.share]
        start = (images + (2 * noise - 1) * radius).clamp(low, high).requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.classification_loss(model(start), batch), start)
        moved = start.detach() + self.options.step * radius * gradient.sign()
        return moved.clamp(images - radius, images + radius).clamp(low, high)
