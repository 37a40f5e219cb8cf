"""Named training recipes: what was published for each family, and small ones for CPUs, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling.errors import known_names


@dataclass(frozen=True)
class TrainingRecipe:
    """Values of TrainingSpec's fields. source: paper and table or code; deviations: what differs from it here."""

    source: str
    fields: Mapping[str, Any]
    deviations: str = ""


TRAINING_RECIPES: dict[str, TrainingRecipe] = {
    "resnet": TrainingRecipe(
        "Gokce & Schrimpf 2025: ResNets, AlexNet, CORnet-S, EfficientNets on ImageNet",
        {
            "epochs": 100, "batch_size": 256, "optimizer": "sgd", "lr": 0.1, "lr_batch": 256, "momentum": 0.9,
            "weight_decay": 1e-4, "warmup_epochs": 5, "min_lr": 1e-5, "augmentation": "resized_crop",
        },
    ),
}  # fmt: skip


def recipe_fields(name: str) -> Mapping[str, Any]:
    """The fields of a named recipe.

    Raises:
        ValueError: an unknown name; lists the known.
    """
    if name not in TRAINING_RECIPES:
        raise ValueError(f"unknown recipe '{name}'; {known_names(name, TRAINING_RECIPES)}")
    return TRAINING_RECIPES[name].fields
