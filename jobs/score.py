"""`scaling score`: a finished study on further benchmarks, or one model on any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.run import RunOptions, heldout_stimuli, run_study, training_stimuli
from scaling.alignment.scoring import scoring_options, with_convention
from scaling.alignment.suites.registry import benchmark_regions, build_benchmarks, check_benchmark_data
from scaling.data.image_source import image_source
from scaling.errors import StudyError
from scaling.ledger import OpenWork
from scaling.models.any_timm import PREFIX, block_layers, load_timm, running_layers
from scaling.specs.dataset import DatasetSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.study import StudySpec

if TYPE_CHECKING:
    from torch import nn

    from scaling.alignment.score import ModelScore


def score_study(study: StudySpec, benchmarks: Sequence[str], options: RunOptions) -> OpenWork:
    """Score a study's kept checkpoints on benchmarks beside its own; nothing is trained.

    Raises:
        StudyError: an unknown benchmark, or runs that are not trained yet.
    """
    names = tuple(dict.fromkeys([*study.benchmarks, *benchmarks]))
    benchmark_regions(names)
    wider = study.model_copy(update={"benchmarks": names})
    return run_study(wider, options, train=False)


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


def score_one_model(
    request: ModelRequest, spec: ScoringSpec, data_dir: Path, console: Console, cache_dir: Path | None = None
) -> list[ModelScore]:
    """One model on benchmarks, in this process, with a bar a pass over the images.

    Raises:
        StudyError: unknown model, layer or benchmark, missing data, weights that do not fit.
    """
    from scaling.alignment.features.activations import check_layers
    from scaling.alignment.features.preprocessing import Preprocessing
    from scaling.alignment.score import Subject, score_model

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
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), console=console, transient=True,
    ) as progress:  # fmt: skip
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        options = replace(scoring_options(spec, partial(training_stimuli, data)), progress=advance)
        return score_model(Subject(_on_device(model), layers, preprocessing), benchmarks, options)


def _on_device(model: nn.Module) -> nn.Module:
    import torch

    return model.cuda() if torch.cuda.is_available() else model


def scores_json(model: str, scores: Sequence[ModelScore]) -> str:
    rows = []
    for score in scores:
        row = score.columns()
        layers = row.pop("layer_scores", None)
        rows.append(row | {"layer_scores": json.loads(layers) if isinstance(layers, str) else None})
    return json.dumps({"model": model, "scores": rows}, indent=2)


def print_scores(model: str, scores: Sequence[ModelScore], console: Console) -> None:
    """A table of scores with errors, intervals and ceilings, and what could not be scored."""
    table = Table(title=f"alignment of {model}", title_justify="left")
    for column in ("benchmark", "layer", "stimuli", "r", "± error", "95 % interval", "ceiling", "score", "by", "leak"):
        table.add_column(column, justify="left" if column in ("benchmark", "layer", "by") else "right")
    for score in scores:
        r = score.result
        if r is None:
            continue
        interval = "" if r.raw_low is None or r.raw_high is None else f"[{r.raw_low:.3f}, {r.raw_high:.3f}]"
        cells = [f"{r.raw:.3f}", _cell(r.raw_error), interval, _cell(r.ceiling), f"{r.score:.3f}"]
        by = r.ceiled if r.ceiling is not None else "r"
        table.add_row(r.benchmark, r.layer, str(r.n_stimuli), *cells, by, _cell(r.selection_leak))
    console.print(table)
    for score in scores:
        if score.reason is not None:
            prefix = f"not scored: {score.benchmark}: " if score.result is None else f"{score.benchmark}: "
            console.print(prefix + score.reason, highlight=False, soft_wrap=True)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
