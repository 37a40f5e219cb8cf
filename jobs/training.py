"""`scaling training`: the named training recipes with their sources, fields and deviations."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from scaling.errors import StudyError, known_names
from scaling.specs.presets import PRESETS, Preset


def recipes_named(names: Sequence[str]) -> dict[str, Preset]:
    """Some recipes by name, or all.

    Raises:
        StudyError: an unknown name; lists the known.
    """
    for name in names:
        if name not in PRESETS:
            raise StudyError(f"unknown recipe '{name}'; {known_names(name, PRESETS)}")
    return {name: PRESETS[name] for name in names or PRESETS}


def print_recipes(recipes: dict[str, Preset], console: Console) -> None:
    """A row a recipe; what it sets as a study file's `training` would."""
    table = Table(
        title="recipes, as `training: {recipe: NAME}` names them", title_justify="left", box=box.SIMPLE_HEAD,
        show_lines=True,
    )  # fmt: skip
    table.add_column("recipe", no_wrap=True)
    for column in ("fields", "source", "deviations"):
        table.add_column(column, ratio=1)
    for name, recipe in recipes.items():
        fields = ", ".join(f"{field}: {_written(value)}" for field, value in recipe.fields.items())
        table.add_row(name, fields, recipe.source, recipe.deviations)
    console.print(table)
    console.print("a field that the study file writes comes before the recipe's", highlight=False)


def _written(value: object) -> str:
    """As a study file may have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
