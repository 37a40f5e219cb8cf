"""`scaling presets`: the named training presets with their sources, fields and deviations."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from scaling.errors import StudyError, known_names
from scaling.specs.presets import PRESETS, Preset

RULE = (
    "a field that the study file writes comes before the preset's; with other epochs than the preset's, its warm-up "
    "keeps its share of them; an average's half-life is a share of the training, whatever its length, and its decay a "
    "step is at most (1 + step) / (10 + step)"
)


def presets_named(names: Sequence[str]) -> dict[str, Preset]:
    """Some presets by name, or all.

    Raises:
        StudyError: an unknown name; lists the known.
    """
    for name in names:
        if name not in PRESETS:
            raise StudyError(f"unknown preset '{name}'; {known_names(name, PRESETS)}")
    return {name: PRESETS[name] for name in names or PRESETS}


def print_presets(presets: dict[str, Preset], console: Console) -> None:
    """A row a preset; what it sets as a study file's `training` would."""
    table = Table(
        title="presets, as `training: {preset: NAME}` names them", title_justify="left", box=box.SIMPLE_HEAD,
        show_lines=True,
    )  # fmt: skip
    table.add_column("preset", no_wrap=True)
    for column in ("fields", "source", "deviations"):
        table.add_column(column, ratio=1)
    for name, preset in presets.items():
        fields = ", ".join(f"{field}: {_written(value)}" for field, value in preset.fields.items())
        table.add_row(name, fields, preset.source, preset.deviations)
    console.print(table)
    console.print(RULE, highlight=False)


def _written(value: object) -> str:
    """As a study file may have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
