"""The command `scaling fit`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.arguments import (
    MISALIGNMENT,
    AsJson,
    Column,
    Target,
    Where,
    asked,
    bad_input_ends,
    column_map,
    conditions,
    show,
)
from scaling.errors import StudyError


@bad_input_ends
def fit(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A table (CSV, Parquet) or a study's results folder.")],
    form: Annotated[str, typer.Option(help="The law's form; an unknown one lists the known.")] = "power_law",
    axes: Annotated[str, typer.Option(help="Comma-separated columns [default: the form's own].")] = "",
    region: Annotated[str | None, typer.Option(help="One region, or accuracy [default: each].")] = None,
    mean: Annotated[bool, typer.Option("--mean", help="The mean over regions instead of each.")] = False,
    where: Where = None,
    column: Column = None,
    target: Target = MISALIGNMENT,
    huber_delta: Annotated[float, typer.Option(help="Of the Huber loss on log residuals; inf: squares.")] = 1e-3,
    bootstrap: Annotated[int, typer.Option(min=0, help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    flat: Annotated[float, typer.Option(help="Share of y within which a change counts as none.")] = 0.05,
    extrapolate: Annotated[bool, typer.Option("--extrapolate", help="Test every form on the costliest runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a scaling law to a table, with bootstrap intervals and a status."""
    from jobs.tables import fit_table

    if mean and region is not None:
        raise StudyError(f"fit takes --mean or --region {region}, not both; leave one out")
    columns = tuple(name for name in axes.split(",") if name)
    show(
        asked(
            fit_table, table, form, columns, region, mean, conditions(where), extrapolate, column_map(column),
            bootstrap=bootstrap, seed=seed, flat=flat, target=target, huber_delta=huber_delta,
        ),
        as_json,
    )  # fmt: skip
