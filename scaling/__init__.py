"""Scaling-law studies of vision models and their alignment to the primate ventral stream."""

from scaling.errors import StudyError
from scaling.study import StudySpec, expand_study, load_study

__version__ = "0.1.0"
__all__ = ["StudyError", "StudySpec", "__version__", "expand_study", "load_study"]
