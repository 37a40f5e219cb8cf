"""timm's models by patterns of their names: what its package says of their weights, and whether these are here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scaling.errors import StudyError
from scaling.zoo.model import Named

if TYPE_CHECKING:
    from torch import nn

# Parts of timm's tags that name training data, as its documentation writes them; 'a1_in1k' was trained on ImageNet-1k.
DATA = {
    "in1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k",
    "laion2b": "LAION-2B", "laion400m": "LAION-400M", "openai": "WIT-400M", "webli": "WebLI",
    "datacomp1b": "DataComp-1B", "lvd142m": "LVD-142M", "lvd1689m": "LVD-1689M", "jft": "JFT-300M", "ig1b": "IG-1B",
}  # fmt: skip
ARXIV = re.compile(r"arXiv:(\d\d)\d\d\.")
FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
HOST = ("huggingface.co", 443)


def list_timm(patterns: Sequence[str], pretrained: bool) -> list[Named]:
    """Models that the patterns match, in timm's order; with `pretrained`, one for each published set of weights."""
    import timm

    return [_named(name, pretrained) for name in timm.list_models(list(patterns), pretrained=pretrained)]


def _named(name: str, pretrained: bool) -> Named:
    import timm

    architecture, _, tag = name.partition(".")
    family = timm.model_entrypoint(architecture).__module__.rpartition(".")[2]
    if not pretrained:
        return Named(name, family)
    config = timm.get_pretrained_cfg(name)
    papers = config.paper_ids if isinstance(config.paper_ids, str) else " ".join(config.paper_ids or ())
    written = ARXIV.search(papers)
    data = " + ".join(DATA[part] for part in tag.split("_") if part in DATA)
    return Named(name, family, 2000 + int(written[1]) if written else None, data or None)


def is_here(name: str) -> bool:
    """Whether a model's published weights lie in this machine's cache."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    hub = timm.get_pretrained_cfg(name).hf_hub_id
    return bool(hub) and any(isinstance(try_to_load_from_cache(hub, file), str) for file in FILES)


def create_timm(name: str, pretrained: bool, image_size: int | None) -> nn.Module:
    """timm's model; a transformer is told its image size, the others take any.

    Raises:
        StudyError: it cannot be built, or its weights cannot be had.
    """
    import timm

    settings: dict[str, Any] = {}
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if image_size is not None and config is not None and config.fixed_input_size:
        settings["img_size"] = image_size
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **settings)
    except (OSError, RuntimeError, AssertionError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise StudyError(f"model timm:{name} cannot be built at {image_size or 'its own'} pixels ({told})") from error
    return model
