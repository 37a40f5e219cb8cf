"""A model's scores as a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from scaling.alignment.one_model import OneModelScores
    from scaling.alignment.score import ModelScore


def scores_json(model: str, found: OneModelScores) -> str:
    """The model's facts and its scores."""
    rows = []
    for score in found.scores:
        row = score.columns()
        layers = row.pop("layer_scores", None)
        rows.append(row | {"layer_scores": json.loads(layers) if isinstance(layers, str) else None})
    return json.dumps({"model": model, **found.facts, "scores": rows}, indent=2)


def print_scores(model: str, scores: Sequence[ModelScore], console: Console) -> None:
    """A table of scores with errors, intervals and ceilings, and what could not be scored."""
    table = Table(title=f"alignment of {model}", title_justify="left")
    for column in ("benchmark", "layer", "stimuli", "r", "± error", "95 % interval", "ceiling", "score", "by", "leak"):
        names = column in ("benchmark", "layer")
        table.add_column(
            column, justify="left" if names or column == "by" else "right", overflow="fold", no_wrap=not names
        )
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
