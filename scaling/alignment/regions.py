"""What a benchmark is of."""

from __future__ import annotations

import re

from scaling.errors import StudyError

REGIONS = ("V1", "V2", "V4", "IT", "behavior")  # of the simulated suite, and those that the field compares most
SALIENCY = "saliency"  # the region of benchmarks of where a model looks, which is no part of the brain
INPUT = "input"  # stands for a layer in their scores: gradients are those of the model's input
OUTPUT = "output"  # likewise, of the choices that a model makes by its own classifier

_NAME = re.compile(r"\w[\w +/-]*")  # V1, EVC, LOC, FFA, …: it becomes part of names in tables and in MLflow


def check_region(region: str, where: str) -> None:
    """Refuse what cannot be the name of a region."""
    if not _NAME.fullmatch(region):
        raise StudyError(
            f"{where}: region {region!r}; give a name of letters and digits, such as V4, IT, EVC, LOC or FFA"
        )
