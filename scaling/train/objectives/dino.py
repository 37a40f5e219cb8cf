"""DINO: a student matches, from any crop, what its own moving average says of the global crops."""

from __future__ import annotations

import copy
import math
from typing import ClassVar

import torch
from timm.layers import DropPath
from torch import nn
from torch.nn import functional

from scaling.models.mup import Drawn
from scaling.specs.objective import DINOSpec
from scaling.train.batch import Batch
from scaling.train.distributed.gather import all_reduce_sum
from scaling.train.distributed.network import network_features, project
from scaling.train.objectives.base import Objective
from scaling.train.objectives.views import View, make_view

SMALLEST_CROP_PX = 4  # assumption: fewer pixels a side show nothing of an object


class DINO(Objective):
    """Caron et al. (2021): 2 global and some local crops; the teacher, an exponential average, is what is kept.

    With several workers the centre is that of all images, and the teachers stay alike.

    Deviations: local crops are resized to the images' own size (models of a fixed size then take them, and all count
    fully in C). Constant by default, and there to be set: the teacher's temperature (published: teacher_temperature
    0.07, temperature_warmup_epochs 30), the last layer's freezing (frozen_epochs 1) and the weight decay (training's
    weight_decay 0.04, weight_decay_end 0.4).
    """

    readout: ClassVar[bool] = True
    on_host: ClassVar[str | None] = "its views, temperature and momentum are chosen on the host at each step"
    centre: torch.Tensor

    def build(self, model: nn.Module) -> None:
        sizes = self.options.hidden, self.options.bottleneck, self.options.prototypes
        self.head = self.build_head(lambda n: ProjectionHead(n, *sizes), model, Drawn("constant", "constant"))
        self.teacher = without_drops(copy.deepcopy(model)).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(self.options.prototypes))

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        assert batch.place is not None
        with torch.autocast(batch.images.device.type, enabled=False):  # images keep their digits
            crops = torch.cat([
                make_view(batch, view, index, self.setting)
                for index, view in enumerate(self.views())
            ])  # fmt: skip
        n, (epoch, _) = len(batch.images), batch.place
        features = network_features(network, self.setting.layer, crops)
        frozen = epoch < self.options.frozen_epochs
        student = project(self.head, features, frozen=frozen).unflatten(0, (-1, n))
        with torch.no_grad():
            teacher = project(self.teacher_head, self.features(self.teacher, crops[: 2 * n])).unflatten(0, (2, n))
        temperature = teacher_temperature(self.options, epoch)
        loss = dino_loss(student, teacher, self.centre, self.options.student_temperature, temperature)
        mean = all_reduce_sum(teacher.sum((0, 1))) / (2 * batch.n_global)
        self.centre.lerp_(mean, 1 - self.options.centre_momentum)
        return loss

    def views(self) -> list[View]:
        """The two global crops with their two augmentations, and the local ones, none smaller than 4 pixels a side."""
        smallest = min(1.0, (SMALLEST_CROP_PX / self.setting.image_size) ** 2)
        low, high = (max(bound, smallest) for bound in self.options.local_area)
        colour, area = self.options.colour_strength, self.options.global_area
        local = View(area=(low, high), colour=colour, blur=0.5)
        return [
            View(area, colour, blur=1.0),
            View(area, colour, 0.1, solarise=0.2),
            *[local] * self.options.local_crops,
        ]

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int) -> None:
        """teacher <- m teacher + (1 - m) student, m rising from teacher_momentum to 1 along a cosine."""
        rest = (1 - self.options.teacher_momentum) * (1 + math.cos(math.pi * step / self.setting.total_steps)) / 2
        for mine, averaged in ((model, self.teacher), (self.head, self.teacher_head)):
            for now, average in zip(mine.parameters(), averaged.parameters(), strict=True):
                average.lerp_(now, rest)

    def evaluated(self, model: nn.Module) -> nn.Module:
        return self.teacher


def teacher_temperature(options: DINOSpec, epoch: int) -> float:
    """The teacher's temperature in an epoch (from 0): linear from warmup_temperature at epoch 0 to teacher_temperature
    at epoch temperature_warmup_epochs - 1, and that from then on, as in the published code.
    """
    first, last, epochs = options.warmup_temperature, options.teacher_temperature, options.temperature_warmup_epochs
    return last if epoch >= epochs else first + (last - first) * epoch / max(1, epochs - 1)


def without_drops(model: nn.Module) -> nn.Module:
    """The model with its dropout and stochastic depth at rate 0, in place: only the student's are random."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


class ProjectionHead(nn.Module):
    """d -> hidden -> hidden -> bottleneck (GELU between), on the unit sphere, then cosines with the prototypes."""

    def __init__(self, n_features: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        widths = [nn.Linear(n_features, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.mlp = nn.Sequential(*widths, nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor, frozen: bool = False) -> torch.Tensor:
        """(n, d) -> (n, prototypes); the prototypes get no gradient where they are `frozen`."""
        unit = functional.normalize(self.mlp(features), dim=-1)
        prototypes = self.prototypes.weight.detach() if frozen else self.prototypes.weight
        return functional.linear(unit, functional.normalize(prototypes, dim=-1))


def dino_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    centre: torch.Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> torch.Tensor:
    """Sum over images of the mean over pairs (t, s), s != t, of -sum_k p_t log p_s.

    p_t = softmax((teacher - centre) / teacher_temperature) without gradient, p_s = softmax(student / its temperature).

    Args:
        student: (n_crops, n, K), the global crops first. teacher: (2, n, K). centre: (K,).

    Source: Caron et al. (2021), eqs. 1-4 and algorithm 1.
    """
    with torch.autocast(student.device.type, enabled=False):
        target = functional.softmax((teacher.detach() - centre) / teacher_temperature, dim=-1)
        log_p = functional.log_softmax(student / student_temperature, dim=-1)
        pairs = -torch.einsum("tnk,snk->ts", target, log_p)
    same = torch.eye(len(target), len(log_p), dtype=torch.bool, device=pairs.device)
    return pairs[~same].mean()
