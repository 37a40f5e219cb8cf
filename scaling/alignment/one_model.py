"""One model by name, scored on any benchmarks, without a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from scaling.alignment.features.activations import check_layers
from scaling.alignment.features.cache import weights_hash
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.score import ModelScore, Subject, score_model
from scaling.alignment.scoring import scoring_options, with_convention
from scaling.alignment.suites.registry import benchmark_regions, build_benchmarks, check_benchmark_data
from scaling.data.image_source import image_source
from scaling.data.shown import heldout_stimuli, training_stimuli
from scaling.errors import StudyError
from scaling.models.any_timm import PREFIX, block_layers, load_timm, running_layers
from scaling.specs.dataset import DatasetSpec
from scaling.specs.scoring import ScoringSpec
from scaling.version import VERSION


@dataclass(frozen=True)
class ModelRequest:
    """One model by name, and what to score it on.

    Attributes:
        model: 'timm:NAME'. pretrained, weights: as `load_timm`. layers: candidates, by default the model's blocks.
        image_size: pixels a side, by default the model's own. images: dataset whose held-out images the simulated
            suite shows.
    """

    model: str
    benchmarks: tuple[str, ...]
    pretrained: bool = False
    weights: Path | None = None
    layers: tuple[str, ...] = ()
    image_size: int | None = None
    images: str = "digits"


@dataclass(frozen=True)
class OneModelScores:
    """Scores, and what they are of: `facts` holds weights_sha256 (see `weights_hash`), pretrained, weights (the file),
    image_size in pixels, degrees of visual angle that it spans, and the version of this package.
    """

    scores: list[ModelScore]
    facts: dict[str, object]


def score_one_model(
    request: ModelRequest,
    spec: ScoringSpec,
    data_dir: Path,
    cache_dir: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> OneModelScores:
    """One model on benchmarks, in this process.

    Args:
        progress: hears of each pass over the images: what, done, total.

    Raises:
        StudyError: unknown model, layer or benchmark, missing data, weights that do not fit.
    """
    if not request.model.startswith(PREFIX):
        raise StudyError(f"model '{request.model}' is unknown; give {PREFIX}NAME, e.g. {PREFIX}resnet50")
    benchmark_regions(request.benchmarks)
    check_benchmark_data(request.benchmarks, data_dir)
    model = load_timm(request.model.removeprefix(PREFIX), request.pretrained, request.weights)
    layers = list(request.layers) or block_layers(model)
    check_layers(model, layers)
    preprocessing = Preprocessing.of_timm(model, request.image_size)
    running = running_layers(model, layers, preprocessing.image_size)
    layers = list(request.layers) or running
    data = image_source(DatasetSpec(name=request.images), data_dir, cache_dir).open()
    heldout = heldout_stimuli(data)
    benchmarks = with_convention(build_benchmarks(request.benchmarks, heldout, data_dir, spec.degrees), spec)
    options = replace(scoring_options(spec, partial(training_stimuli, data)), progress=progress)
    facts: dict[str, object] = {
        "weights_sha256": weights_hash(model),
        "pretrained": request.pretrained,
        "weights": None if request.weights is None else str(request.weights),
        "image_size": preprocessing.image_size,
        "degrees": spec.degrees,
        "version": VERSION,
    }
    scores = score_model(Subject(_on_device(model), layers, preprocessing), benchmarks, options)
    return OneModelScores(scores, facts)


def _on_device(model: nn.Module) -> nn.Module:
    return model.cuda() if torch.cuda.is_available() else model
