"""Scaling-law studies of vision models and their alignment to the primate ventral stream."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scaling.errors import StudyError
from scaling.study import StudySpec, expand_study, load_study

if TYPE_CHECKING:
    from scaling.load import checkpoint_info, load_model, preprocessing

__version__ = "0.1.0"
__all__ = [
    "StudyError", "StudySpec", "__version__", "checkpoint_info", "expand_study", "load_model", "load_study",
    "preprocessing",
]  # fmt: skip

_NEED_TORCH = ("checkpoint_info", "load_model", "preprocessing")


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module 'scaling' has no attribute '{name}'")
    return getattr(import_module("scaling.load"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NEED_TORCH})
