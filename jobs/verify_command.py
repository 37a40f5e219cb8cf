"""The command `scaling verify`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.arguments import (
    Address,
    CacheDir,
    DataDir,
    StorageOption,
    StudyFile,
    bad_input_ends,
    data_folder,
    ended,
    opened,
    terminal,
)


@bad_input_ends
def verify(
    study: StudyFile,
    flops: Annotated[float, typer.Option(help="Training FLOP of each model, beyond the study's or within.")],
    region: Annotated[str | None, typer.Option(help="Split it for this region, or for accuracy [default: IT].")] = None,
    family: Annotated[str | None, typer.Option(help="In this family [default: the one that promises most].")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Once more, with another seed, predicted by the laws as they are now.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print models, cost and predictions; start nothing.")] = False,
    address: Address = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    storage: StorageOption = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track in MLflow.")] = True,
) -> None:
    """Train the model recommended for a budget, and those of a third and three times its N; compare with the laws."""
    from jobs.verify_study import Question, verify_study
    from scaling.cluster.driver import RunOptions

    options = RunOptions(data_folder(data_dir), address, None, cache_dir)
    question = Question(flops, region, family, again)
    outcome = verify_study(opened(study, storage), question, options, terminal(), mlflow, plan)
    if outcome is not None:
        ended(outcome)
