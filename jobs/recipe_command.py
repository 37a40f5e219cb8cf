"""`scaling recipe`: what a budget buys, by the laws of a study, of a table or of a saved recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jobs.arguments import (
    MISALIGNMENT,
    AsJson,
    Column,
    StorageOption,
    Target,
    Where,
    asked,
    bad_input_ends,
    column_map,
    conditions,
    finite,
    opened,
    refuse_unused,
    show,
    terminal,
)


@bad_input_ends
def recipe(
    source: Annotated[
        str, typer.Argument(metavar="STUDY|TABLE|RECIPE", help="Study (YAML), table (CSV, Parquet) or recipe (JSON).")
    ],
    flops: Annotated[float, typer.Option(callback=finite, help="The budget: total training FLOP.")],
    region: Annotated[
        str | None, typer.Option(help="Make the most of this region, or of accuracy [default: IT].")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this model family.")] = None,
    stimuli: Annotated[
        float | None,
        typer.Option(callback=finite, help="Instead: the score with so many stimuli to map on, and what to buy next."),
    ] = None,
    score: Annotated[
        float | None, typer.Option(callback=finite, help="Tables and recipes: also the compute to reach this score.")
    ] = None,
    storage: StorageOption = None,
    where: Where = None,
    column: Column = None,
    target: Target = MISALIGNMENT,
    as_json: AsJson = False,
) -> None:
    """Which model size and how many images a budget buys, what alignment to expect, and how sure that is.

    With --stimuli, of scores that have mapping curves: what alignment this compute and so many recorded stimuli
    give, and whether more stimuli or more compute gain more.
    """
    from jobs.tables import ask_table, named

    fitted = {"target": target != MISALIGNMENT, "where": where, "column": column}
    if stimuli is not None:
        unused = {"score": score is not None, "target": target != MISALIGNMENT}
        refuse_unused("recipe --stimuli", "it is of scores over compute and stimuli", **unused)
        _of_stimuli(source, flops, stimuli, region, family, storage, where, column, as_json)
        return
    if not named(source).endswith((".yaml", ".yml")):
        options: dict[str, Any] = {}
        if named(source).endswith(".json"):
            refuse_unused("a saved recipe", "ask its table", family=family, storage=storage, **fitted)
        else:
            refuse_unused("a table", "give it with a study file", storage=storage)
            options = {"family": family, "where": conditions(where), "columns": column_map(column), "target": target}
        show(asked(ask_table, source, flops=flops, score=score, region=region, **options), as_json)
        return
    refuse_unused("recipe of a study", "give its results folder in place of the file", score=score is not None,
                  **fitted)  # fmt: skip
    _of_study(source, flops, region, family, storage, as_json)


def _of_study(
    source: str, flops: float, region: str | None, family: str | None, storage: str | None, as_json: bool
) -> None:
    from jobs.answer import answer_study
    from jobs.print_answer import print_recipe, recipe_json
    from jobs.print_damaged import say_damaged

    study = opened(Path(source), storage)
    answer = answer_study(study)
    say_damaged(study, Console(stderr=True))
    allocations = asked(answer.allocate_each, flops, region, family)
    if as_json:
        print(json.dumps(recipe_json(allocations, region or answer.target), indent=2))
    else:
        print_recipe(allocations, flops, region or answer.target, terminal())


def _of_stimuli(
    source: str, flops: float, stimuli: float, region: str | None, family: str | None, storage: str | None,
    where: list[str] | None, column: list[str] | None, as_json: bool,
) -> None:  # fmt: skip
    from jobs.tables import ask_stimuli, named

    if named(source).endswith(".json"):
        refuse_unused("a saved recipe", "it has no mapping curves: ask its study or table", stimuli=True)
    if named(source).endswith((".yaml", ".yml")):
        from jobs.answer import answer_study

        refuse_unused("recipe of a study", "give its results folder in place of the file", where=where, column=column)
        found = asked(answer_study(opened(Path(source), storage)).with_stimuli, flops, stimuli, region, family)
    else:
        refuse_unused("a table", "give it with a study file", storage=storage)
        found = asked(ask_stimuli, source, flops, stimuli, region, family, conditions(where), column_map(column))
    print(json.dumps([one.to_dict() for one in found], indent=2) if as_json else "\n\n".join(f.text() for f in found))
