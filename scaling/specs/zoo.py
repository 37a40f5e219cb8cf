"""Zoo studies: models that were trained elsewhere, scored and not trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from scaling.errors import StudyError
from scaling.specs.base import Spec
from scaling.specs.dataset import DatasetSpec, as_dataset
from scaling.specs.scoring import ScoringSpec
from scaling.specs.study import safe_name
from scaling.yaml_file import read_fields

SOURCES = ("timm", "torchvision", "checkpoints")
CHECKPOINTS = "checkpoints"


class ZooSpec(Spec):
    """Models of one source.

    zoo: 'timm:PATTERNS' or 'torchvision:PATTERNS', shell patterns of their names with commas between
    ('timm:resnet*,convnext*'), or 'checkpoints', of a study of this package.
    pretrained: the published weights; without them, and without `weights`, random ones, drawn with seed 0.
    weights: a folder with a file a model, NAME.safetensors, .pth, .pt or .bin; no other models than it has files for.
    path: of checkpoints, the study's results folder (a path or URI); the last epoch that each finished run kept.
    limit: at most so many models, the first by name. image_size: pixels a side; by default each model's own.
    """

    zoo: str
    pretrained: bool = False
    weights: str | None = None
    path: str | None = None
    limit: PositiveInt | None = None
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None

    @model_validator(mode="after")
    def _check(self) -> ZooSpec:
        source, patterns = self.source, self.patterns
        if source not in SOURCES or (source == CHECKPOINTS) == bool(patterns):
            known = "timm:PATTERNS, torchvision:PATTERNS or checkpoints"
            raise ValueError(f"zoo={self.zoo!r} is none of {known}; write for instance 'timm:resnet*,convnext*'")
        if (source == CHECKPOINTS) != (self.path is not None):
            raise ValueError(
                f"zoo={self.zoo!r} with path={self.path!r}: a path belongs to zoo: checkpoints, which needs it"
            )
        if source == CHECKPOINTS and (self.pretrained or self.weights or self.image_size):
            raise ValueError(
                "zoo: checkpoints takes no pretrained, weights or image_size: they are as they were trained"
            )
        if self.pretrained and self.weights:
            raise ValueError(f"pretrained and weights={self.weights!r} are both given; keep one")
        return self

    @property
    def source(self) -> str:
        return self.zoo.partition(":")[0].strip()

    @property
    def patterns(self) -> tuple[str, ...]:
        return tuple(pattern for part in self.zoo.partition(":")[2].split(",") if (pattern := part.strip()))


class ZooStudySpec(Spec):
    """Models x benchmarks, without training.

    dataset: whose held-out images the simulated suite shows. accuracies: a CSV of published accuracies with columns
    `model` and `top1` (percent), as timm keeps them beside its code (results-imagenet.csv). geometry: also exponent and
    effective dimension of every layer on each stimulus set (`metrics.geometry`), of models that are scored from then
    on. storage: local path or pyarrow URI; the study lives in `storage/name`.
    """

    name: Annotated[str, AfterValidator(safe_name)]
    models: Annotated[tuple[ZooSpec, ...], Field(min_length=1)]
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    dataset: Annotated[DatasetSpec, BeforeValidator(as_dataset)] = DatasetSpec(name="digits")
    scoring: ScoringSpec = ScoringSpec()
    accuracies: str | None = None
    geometry: bool = False
    storage: str = "results"


def is_zoo(path: str | Path) -> bool:
    """Whether a study file names models of zoos.

    Raises:
        StudyError: the file cannot be read, or names both zoos and models to train.
    """
    models = read_fields(path, "study file", "jobs/studies/quickstart.yaml").get("models")
    zoos = [isinstance(model, Mapping) and "zoo" in model for model in models] if isinstance(models, list) else []
    if any(zoos) and not all(zoos):
        raise StudyError(
            f"models of zoos and models to train are both in {path}; give each a study of its own, and score the "
            "trained one's models in the zoo by {zoo: checkpoints, path: …}"
        )
    return any(zoos)
