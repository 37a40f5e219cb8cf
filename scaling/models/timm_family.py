"""Any timm model as a member of a study: `{family: timm, sizes: [resnet50d, convnextv2_atto]}`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scaling.errors import StudyError, known_names
from scaling.models.any_timm import block_layers
from scaling.models.shapes import Shape, without_meaning

if TYPE_CHECKING:
    from torch import nn

    from scaling.specs.model import ModelSpec


class TimmFamily:
    """A model as timm has it, stem included; `size` = its parameters with timm's own image size and classes.

    Images must not be smaller than its total stride, and a model with patches must be able to cut them.
    """

    standard = 1

    def shape(self, name: str) -> Shape:
        return Shape(_stock_params(name), variant=name)

    def step(self, heads: int | None) -> None:
        return None

    def check(self, spec: ModelSpec, image_size: int | None) -> str | None:
        if spec.variant is None:
            return f"size={spec.size}: a timm model has a name and no width; write sizes: [resnet50d], say"
        problem = without_meaning(spec, "depth", "heads")
        return problem or (None if image_size is None else _image_problem(spec.variant, image_size))

    def has_batch_norm(self, spec: ModelSpec) -> bool:
        return _tracks_statistics(spec.variant or "")

    def build(self, spec: ModelSpec, image_size: int, n_classes: int) -> nn.Module:
        return _create(spec.variant or "", image_size, n_classes)

    def layers(self, model: nn.Module) -> list[str]:
        return block_layers(model)


def _create(name: str, image_size: int | None, n_classes: int | None) -> nn.Module:
    """timm's model with random weights; a transformer is told its image size, the others take any."""
    import timm

    if not timm.is_model(name):
        raise StudyError(f"timm has no model '{name}'; {known_names(name, timm.list_models())}")
    settings: dict[str, Any] = {} if n_classes is None else {"num_classes": n_classes}
    defaults = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if image_size is not None and defaults is not None and defaults.fixed_input_size:
        settings["img_size"] = image_size
    model: nn.Module = timm.create_model(name, pretrained=False, **settings)
    return model


@lru_cache(maxsize=256)
def _stock_params(name: str) -> int:
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in _create(name, None, None).parameters())


@lru_cache(maxsize=256)
def _tracks_statistics(name: str) -> bool:
    """Whether the model keeps running statistics of its batches: batch norm, and what timm has that does as it does."""
    import torch

    with torch.device("meta"):
        buffers = _create(name, None, None).named_buffers()
    return any(path.endswith("running_var") for path, _ in buffers)


@lru_cache(maxsize=256)
def _image_problem(name: str, image_size: int) -> str | None:
    """Why the model cannot take images of this size, found by one forward pass on the meta device."""
    import torch

    try:
        with torch.device("meta"), torch.no_grad():
            model = _create(name, image_size, 2).eval()
            model(torch.empty(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        if isinstance(error, StudyError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"image_size={image_size} does not suit timm's {name} ({reason}); set dataset.image_size"
    stride = max((info["reduction"] for info in getattr(model, "feature_info", [])), default=1)
    if image_size < stride:
        return (
            f"image_size={image_size} is below the total stride of timm's {name}; set dataset.image_size to {stride} "
            "or more, or take a family with stems for small images"
        )
    return None
