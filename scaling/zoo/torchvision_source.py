"""torchvision's classifiers by patterns of their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.errors import StudyError
from scaling.zoo.model import Named

if TYPE_CHECKING:
    from torch import nn

    from scaling.alignment.features.preprocessing import Preprocessing

DATA = "ImageNet-1k"  # of all DEFAULT weights' classes; some were trained on more before, which it does not say
READOUTS = ("avgpool",)
HOST = ("download.pytorch.org", 443)


def list_torchvision(patterns: Sequence[str], pretrained: bool) -> list[Named]:
    """Classifiers that the patterns match, with the accuracy that torchvision measured of their DEFAULT weights."""
    from torchvision import models

    names = models.list_models(module=models, include=list(patterns))
    return [_named(name, pretrained) for name in names]


def _named(name: str, pretrained: bool) -> Named:
    from torchvision import models

    family = models.get_model_builder(name).__module__.rpartition(".")[2]
    if not pretrained:
        return Named(name, family)
    metrics = models.get_model_weights(name).DEFAULT.meta.get("_metrics", {})
    top1 = metrics.get("ImageNet-1K", {}).get("acc@1")
    return Named(name, family, None, DATA, None if top1 is None else top1 / 100)


def is_here(name: str) -> bool:
    """Whether the DEFAULT weights lie in this machine's cache."""
    import torch
    from torchvision import models

    file = models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


def create_torchvision(name: str, pretrained: bool, image_size: int | None) -> nn.Module:
    """torchvision's model; a vision transformer is told its image size, the others take any.

    Raises:
        StudyError: it cannot be built, or its weights cannot be had.
    """
    from torchvision import models

    settings = {"image_size": image_size} if image_size and name.startswith("vit_") else {}
    try:
        model: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained else None, **settings)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        told = " ".join(str(error).split())[:200]
        raise StudyError(f"model torchvision:{name} cannot be built ({told})") from error
    return model


def preprocessing_of(name: str, image_size: int | None) -> Preprocessing:
    """The evaluation transform of the DEFAULT weights, at its own image size or another in proportion."""
    from torchvision import models

    from scaling.alignment.features.preprocessing import Preprocessing

    told = models.get_model_weights(name).DEFAULT.transforms()
    size = image_size or told.crop_size[0]
    resize = max(size, round(size * told.resize_size[0] / told.crop_size[0]))
    return Preprocessing(size, resize, tuple(told.mean), tuple(told.std), told.interpolation.value)
