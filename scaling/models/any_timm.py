"""Any timm model by name, and the layers of a model that nobody has listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import StudyError, known_names

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"


def load_timm(name: str, pretrained: bool = False, weights: Path | None = None) -> nn.Module:
    """A timm model in eval mode: its published weights, those of a file, or random ones drawn with seed 0.

    Args:
        name: as `timm.list_models` says. weights: safetensors, or a PyTorch file (read with `weights_only=True`).

    Raises:
        StudyError: an unknown name with near matches, both kinds of weights, weights that cannot be had or do not fit.
    """
    import timm
    import torch

    if pretrained and weights is not None:
        raise StudyError(f"model {PREFIX}{name}: both pretrained and weights={weights}; give one")
    if not timm.is_model(name):
        raise StudyError(f"timm has no model '{name}'; {known_names(name, timm.list_models())}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model = timm.create_model(name, pretrained=pretrained)
        except (OSError, RuntimeError) as error:
            raise StudyError(
                f"model {PREFIX}{name}: its published weights cannot be had ({str(error).splitlines()[0]}); check the "
                "connection, or give a file with --weights"
            ) from error
    if weights is not None:
        _load_weights(model, name, weights)
    return model.eval()


def _load_weights(model: nn.Module, name: str, path: Path) -> None:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        safe = path.suffix == ".safetensors"
        tensors: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        tensors = tensors.get("state_dict", tensors) if isinstance(tensors, dict) else tensors
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, AttributeError, TypeError) as error:
        raise StudyError(
            f"model {PREFIX}{name}: {path} holds no weights for it ({str(error).splitlines()[0]}); give safetensors or "
            "a PyTorch state dict of this model"
        ) from error


def block_layers(model: nn.Module) -> list[str]:
    """Candidate layers of any model, input side first: its blocks, and the pooled features before the classifier.

    Blocks are the members of Sequential and ModuleList containers that have weights, taken as deep as containers of
    equal members nest: 'layer1.0' of a ResNet, 'stages.2.blocks.5' of a ConvNeXt, 'blocks.11' of a ViT, 'features.10'
    of a VGG. Normalisation layers and the classifier are left out.
    """
    classifier = _classifier(model)
    layers = [name for name, block in _blocks("", model, top=True) if all(m is not classifier for m in block.modules())]
    readout = next((n for n in ("global_pool", "head.global_pool", "fc_norm") if _has(model, n)), None)
    return [*layers, readout] if readout else layers


def _blocks(prefix: str, container: nn.Module, top: bool = False) -> Iterator[tuple[str, nn.Module]]:
    from torch import nn

    for name, child in container.named_children():
        path = f"{prefix}{name}"
        nests = isinstance(child, nn.Sequential | nn.ModuleList)
        inner = child if nests else _inner_container(child)
        if inner is not None and (nests or not top):
            yield from _blocks(f"{path}." if nests else f"{path}.{_name_in(child, inner)}.", inner)
        elif any(True for _ in child.parameters()) and "norm" not in type(child).__name__.lower():
            yield path, child


def _inner_container(module: nn.Module) -> nn.Module | None:
    """A member list of two or more equal blocks inside a stage, as ConvNeXt's `blocks`."""
    from torch import nn

    for child in module.children():
        members = list(child.children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        if len(members) > 1 and len({type(member) for member in members}) == 1:
            return child
    return None


def _name_in(module: nn.Module, child: nn.Module) -> str:
    return next(name for name, member in module.named_children() if member is child)


def _classifier(model: nn.Module) -> nn.Module | None:
    get: Any = getattr(model, "get_classifier", None)
    found = get() if get else None
    return found[0] if isinstance(found, tuple) else found


def _has(model: nn.Module, name: str) -> bool:
    from torch import nn

    module: nn.Module | None = model
    for part in name.split("."):
        module = getattr(module, part, None)
    return isinstance(module, nn.Module)
