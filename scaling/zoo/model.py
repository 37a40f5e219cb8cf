"""One model of a zoo: where its weights are, and what its source says of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

RANDOM, PUBLISHED = "random", "published"  # of `ZooModel.weights`, beside the path of a file
FILE_ENDS = 65_536  # bytes at either end of a weights file that its identity is made of
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


class ZooModel(BaseModel):
    """What loads a model, and what is known before it is loaded; small, and sent to any node.

    model_id: of its scores. source: of SOURCES. name: as the source has it; of checkpoints the run's id.
    weights: RANDOM, PUBLISHED, the path of a file, or of checkpoints the results folder. epoch: of a checkpoint.
    image_size: pixels a side; None: the model's own. family: the source's module, or the run's family. year: of the
    weights' paper. data: what the weights were trained on. accuracy: in [0, 1], of accuracy_of. Unknown facts are None.
    geometry: whether its layers' is computed beside the scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_id: str
    source: str
    name: str
    weights: str
    image_size: int | None
    family: str
    label: str
    epoch: int = 0
    year: int | None = None
    data: str | None = None
    accuracy: float | None = None
    accuracy_of: str | None = None
    geometry: bool = False


class Named(NamedTuple):
    """A model's name and its facts at its source."""

    name: str
    family: str
    year: int | None = None
    data: str | None = None
    accuracy: float | None = None


def model_id(*parts: object) -> str:
    """16 hex digits of what determines a model's weights and input."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def file_identity(path: Path) -> str:
    """Of a file's size and its two ends: another training changes the last tensor, or the checksums of the archive."""
    size = path.stat().st_size
    with path.open("rb") as file:
        ends = file.read(FILE_ENDS)
        file.seek(max(0, size - FILE_ENDS))
        ends += file.read(FILE_ENDS)
    return hashlib.sha256(f"{size} ".encode() + ends).hexdigest()[:16]


def weights_file(folder: Path, name: str) -> Path | None:
    """A model's file in a folder of weights."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
