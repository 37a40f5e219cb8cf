"""The objectives by name; `specs.objective.SPECS` holds their options under the same names."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scaling.data.images import ImageData
from scaling.models import build_model, candidate_layers
from scaling.models.mup import base_model
from scaling.specs.horizon import steps_per_epoch
from scaling.specs.model import ModelSpec
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.train.batch import Setting, penultimate
from scaling.train.objectives.base import Objective
from scaling.train.objectives.dino import DINO
from scaling.train.objectives.ffgsm import FFGSM
from scaling.train.objectives.harmonizer import Harmonizer
from scaling.train.objectives.needs import check_maps
from scaling.train.objectives.simclr import SimCLR
from scaling.train.objectives.supervised import Supervised

OBJECTIVES: dict[str, type[Objective]] = {
    "supervised": Supervised,
    "simclr": SimCLR,
    "dino": DINO,
    "ffgsm": FFGSM,
    "harmonizer": Harmonizer,
}


def build_objective(run: RunSpec, data: ImageData, subset: np.ndarray, model: nn.Module) -> Objective:
    """The run's objective on the model's device; its modules are drawn from torch's global generator.

    Args:
        subset: indices of the training images that the run sees.

    Raises:
        StudyError: it needs importance maps and none of these images has one.
    """
    options = objective_spec(run.objective)
    kind = OBJECTIVES[options.name]
    check_maps(run, data, subset)
    device = next(model.parameters()).device
    layer = candidate_layers(run.model, model)[-1]
    base = base_model(run.model) if kind.readout else None
    setting = Setting(
        options=options,
        training=run.training,
        seed=run.seed,
        layer=layer,
        image_size=data.image_size,
        steps_per_epoch=steps_per_epoch(len(subset), run.training.batch_size),
        mean=torch.tensor(data.mean, device=device).view(1, 3, 1, 1),
        std=torch.tensor(data.std, device=device).view(1, 3, 1, 1),
        n_base_features=None if base is None else _n_features(base, layer, data),
    )
    return kind(setting, model).to(device)


def _n_features(spec: ModelSpec, layer: str, data: ImageData) -> int:
    """Features of a model's layer, counted on the meta device."""
    with torch.device("meta"), torch.no_grad():
        model = build_model(spec, data.image_size, data.n_classes).eval()
        return penultimate(model, layer, torch.empty(1, 3, data.image_size, data.image_size)).shape[1]
