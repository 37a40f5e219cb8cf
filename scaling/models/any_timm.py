"""Any timm model by name, and the layers of a model that nobody has listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import StudyError, known_names
from scaling.models.weights_file import read_tensors

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"
READOUTS = ("global_pool", "head.global_pool", "fc_norm", "head_drop", "head.drop")  # what the classifier reads
MAX_TOLD = 200  # letters of another library's message that are repeated


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
    try:
        model.load_state_dict(read_tensors(path))
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())
        raise StudyError(
            f"model {PREFIX}{name}: {path} holds no weights for it ({told[:MAX_TOLD]}{'…' * (len(told) > MAX_TOLD)}); "
            "give safetensors or a PyTorch state dict of this model"
        ) from error


def block_layers(model: nn.Module) -> list[str]:
    """Candidate layers of any model, input side first: its blocks, and the pooled features before the classifier.

    Blocks are the members of Sequential and ModuleList containers that have weights, taken as deep as containers of
    equal members nest: 'layer1.0' of a ResNet, 'stages.2.blocks.5' of a ConvNeXt, 'blocks.11' of a ViT, 'features.10'
    of a VGG. Normalisation layers and the classifiers are left out.
    """
    classifiers = _classifiers(model)
    layers = [name for name, block in _blocks("", model, top=True) if classifiers.isdisjoint(block.modules())]
    readout = next((name for name in READOUTS if _has(model, name)), None)
    return [*layers, readout] if readout else layers


def running_layers(model: nn.Module, layers: Sequence[str], image_size: int) -> list[str]:
    """Those of the layers that give one row an image in a forward pass, in the order in which they last run.

    Some models hold modules that they never call, or that see patches as if they were images. The last one is the
    closest to the classifier.

    Args:
        image_size: pixels a side; two grey images are shown.

    Raises:
        StudyError: the model does not take such images.
    """
    import torch

    rows_fit: dict[str, bool] = {}

    def hook(layer: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple | list) and output else output
            rows_fit.pop(layer, None)
            rows_fit[layer] = isinstance(value, torch.Tensor) and value.ndim > 1 and len(value) == 2

        return note

    handles = [model.get_submodule(layer).register_forward_hook(hook(layer)) for layer in layers]
    try:
        with torch.inference_mode():
            model(torch.zeros(2, 3, image_size, image_size))
    except (AssertionError, RuntimeError) as error:
        raise StudyError(
            f"model {type(model).__name__} does not take images of {image_size} pixels "
            f"({' '.join(str(error).split())[:MAX_TOLD]}); leave --image-size out"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return [layer for layer, usable in rows_fit.items() if usable]


def _blocks(prefix: str, container: nn.Module, top: bool = False) -> Iterator[tuple[str, nn.Module]]:
    from torch import nn

    for name, child in container.named_children():
        path = f"{prefix}{name}"
        nests = isinstance(child, nn.Sequential | nn.ModuleList)
        inner = child if nests else _inner_container(child)
        if inner is not None and (nests or not top):
            yield from _blocks(f"{path}." if nests else f"{path}.{_name_in(child, inner)}.", inner)
        elif any(p.numel() > max(p.shape, default=1) for p in child.parameters()):
            yield path, child  # without it there are scales and shifts alone: a norm


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


def _classifiers(model: nn.Module) -> set[nn.Module]:
    """The last linear layers: what the model itself says, and what timm knows of it (several: distillation, views)."""
    get: Any = getattr(model, "get_classifier", None)
    found = get() if get else ()
    modules = set(found if isinstance(found, tuple) else (found,))
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    for name in (names,) if isinstance(names, str) else names:
        if _has(model, name):
            modules.add(model.get_submodule(name))
    return modules


def _has(model: nn.Module, name: str) -> bool:
    from torch import nn

    module: nn.Module | None = model
    for part in name.split("."):
        module = getattr(module, part, None)
    return isinstance(module, nn.Module)
