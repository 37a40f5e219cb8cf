"""Scaling-law studies of vision models and their alignment to the primate ventral stream."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scaling.version import VERSION as __version__

if TYPE_CHECKING:
    from scaling.checkpoints.load import checkpoint_info, load_model, preprocessing
    from scaling.errors import StudyError
    from scaling.ledger import Study, open_study
    from scaling.specs.study import StudySpec
    from scaling.study import expand_study, load_study

_HOMES = {
    "Study": "scaling.ledger",
    "StudyError": "scaling.errors",
    "StudySpec": "scaling.specs.study",
    "checkpoint_info": "scaling.checkpoints.load",
    "expand_study": "scaling.study",
    "load_model": "scaling.checkpoints.load",
    "load_study": "scaling.study",
    "open_study": "scaling.ledger",
    "preprocessing": "scaling.checkpoints.load",
}
__all__ = [
    "Study",
    "StudyError",
    "StudySpec",
    "__version__",
    "checkpoint_info",
    "expand_study",
    "load_model",
    "load_study",
    "open_study",
    "preprocessing",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What is asked for is imported then: nothing here imports torch before it is needed."""
    if name not in _HOMES:
        raise AttributeError(f"module 'scaling' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
