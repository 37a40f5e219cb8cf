"""The `scaling` command; every subcommand is a thin call into the packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jobs.arguments import (
    BAD_INPUT,
    INCOMPLETE,
    Address,
    AsJson,
    CacheDir,
    DataDir,
    StorageOption,
    StudyFile,
    bad_input_ends,
    data_folder,
    ended,
    finite,
    opened,
    opened_zoo,
    refuse_unused,
    scoring_settings,
    terminal,
)
from jobs.fit_command import fit
from jobs.recipe_command import recipe
from jobs.report_command import report
from jobs.slurm.command import slurm
from jobs.verify_command import verify
from jobs.watch.command import watch
from scaling.errors import StudyError
from scaling.specs.scoring import ScoringSpec

DIGITS = "digits"

app = typer.Typer(
    name="scaling",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Scaling-law studies of vision models and their alignment to the primate ventral stream.",
)


def print_version(wanted: bool) -> None:
    if wanted:
        from scaling import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def scaling(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Scaling-law studies of vision models and their alignment to the primate ventral stream."""


@app.command(epilog="Example: scaling run jobs/studies/quickstart.yaml")
@bad_input_ends
def run(
    study: StudyFile,
    address: Address = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    storage: StorageOption = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track in MLflow.")] = True,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Runs at once on a cluster that grows [default: what fits it now].")
    ] = None,
) -> None:
    """Train and score what the study lacks, then fit its laws and print the recipe. Run again, it resumes."""
    from jobs.tuned_run import run_tuned
    from scaling.cluster.driver import RunOptions

    options = RunOptions(data_folder(data_dir), address, concurrency, cache_dir)
    if (zoo := opened_zoo(study, storage)) is not None:
        from jobs.zoo_run import run_zoo

        raise typer.Exit(run_zoo(zoo, options, terminal()))
    ended(run_tuned(opened(study, storage), options, terminal(), mlflow))


@app.command(epilog="Example: scaling plan jobs/studies/quickstart.yaml --throughput 2e9")
@bad_input_ends
def plan(
    study: StudyFile,
    address: Address = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    storage: StorageOption = None,
    throughput: Annotated[
        float | None,
        typer.Option(min=1.0, callback=finite, help="Training FLOP/s of one worker [default: time each model here]."),
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option(help="Law and noise from an answered study: its file, its results, a table [default: its own]."),
    ] = None,
) -> None:
    """What every run would cost, what the grid can find out, and what would be refused."""
    from jobs.power import read_pilot, study_power
    from jobs.print_plan import print_plan
    from jobs.print_power import print_power
    from jobs.print_rates import print_tuning
    from scaling.cluster.plan import plan_study

    if (zoo := opened_zoo(study, storage)) is not None:
        from jobs.zoo_run import plan_zoo

        plan_zoo(zoo, data_folder(data_dir), address, terminal())
        return
    measured = None if pilot is None else read_pilot(pilot)
    own = opened(study, storage)
    planned = plan_study(own, data_folder(data_dir), address, throughput, cache_dir)
    print_plan(planned, terminal())
    print_tuning(own, planned, terminal())
    print_power(study_power(own, planned, measured), terminal())
    if planned.refused:
        raise typer.Exit(BAD_INPUT)


@app.command(epilog="Example: scaling models resnet vit")
@bad_input_ends
def models(
    families: Annotated[
        list[str] | None, typer.Argument(metavar="[FAMILY]...", help="Families [default: all].")
    ] = None,
) -> None:
    """Every family's ladder of sizes, with parameters and FLOPs, counted without building weights."""
    from jobs.print_models import ladder_rows, print_ladders

    print_ladders(ladder_rows(families or []), terminal())


@app.command(epilog="Example: scaling benchmarks --data-dir data")
@bad_input_ends
def benchmarks(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Every suite: regions, subjects, stimuli, licence, where its files come from, and whether they are there."""
    from jobs.print_benchmarks import benchmark_rows, print_benchmarks

    if as_json:
        print(json.dumps(benchmark_rows(data_folder(data_dir)), indent=2))
    else:
        print_benchmarks(data_folder(data_dir), terminal())


@app.command(epilog="Example: scaling presets convnext")
@bad_input_ends
def presets(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Presets [default: all].")] = None,
) -> None:
    """Named training presets, their sources, and what differs from them here."""
    from jobs.print_presets import presets_named, print_presets

    print_presets(presets_named(names or []), terminal())


@app.command(hidden=True)
@bad_input_ends
def training(names: Annotated[list[str] | None, typer.Argument(help="Presets.")] = None) -> None:
    """Its earlier name."""
    command = " ".join(["scaling", "presets", *(names or [])])
    raise StudyError(f"no command 'training': it is called presets now; write `{command}`")


@app.command(epilog="Example: scaling status jobs/studies/quickstart.yaml")
@bad_input_ends
def status(study: StudyFile, storage: StorageOption = None) -> None:
    """Which runs are finished, diverged, failed or open, and what is still to be scored."""
    from jobs.print_status import print_status

    if (zoo := opened_zoo(study, storage)) is not None:
        from jobs.zoo_run import print_zoo_status

        print_zoo_status(zoo, terminal())
        return
    print_status(opened(study, storage), terminal())


@app.command(epilog="Example: scaling score --model timm:resnet18 --pretrained --benchmark kriegeskorte2008")
@bad_input_ends
def score(
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY]", help="A study whose runs are trained.")] = None,
    model: Annotated[str | None, typer.Option(help="Instead of a study: timm:NAME.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="Suite or benchmark; may be repeated.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The model's published weights.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Its weights: safetensors or a PyTorch state dict.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Candidate layer; may be repeated [default: blocks].")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels a side [default: the model's own].")] = None,
    images: Annotated[str, typer.Option(help="Dataset whose held-out images the simulated suite shows.")] = DIGITS,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the study file's 'scoring'; may be repeated.")
    ] = None,
    address: Address = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    storage: StorageOption = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track a study in MLflow.")] = True,
    as_json: AsJson = False,
) -> None:
    """Score a trained study on further benchmarks, or one model on any benchmark."""
    if (study is None) == (model is None):
        raise StudyError("score: give either a study file or --model timm:NAME")
    if study is not None:
        refuse_unused("score of a study", "they go with --model", pretrained=pretrained, weights=weights, layer=layer,
                      image_size=image_size, images=images != DIGITS, json=as_json)  # fmt: skip
        from jobs.study_run import run_study
        from scaling.cluster.driver import RunOptions

        own = opened(study, storage)
        wider = own.scored_by(benchmark or [], scoring_settings(own.spec.scoring, setting))
        options = RunOptions(data_folder(data_dir), address, None, cache_dir)
        ended(run_study(wider, options, terminal(), mlflow, train=False))
        return
    refuse_unused("score of a model", "they go with a study", storage=storage, address=address)
    from jobs.print_scores import print_scores, scores_json
    from jobs.progress_line import pass_bars
    from scaling.alignment.one_model import ModelRequest, score_one_model

    request = ModelRequest(
        str(model), tuple(benchmark or ()), pretrained, weights, tuple(layer or ()), image_size, images
    )
    settings = scoring_settings(ScoringSpec(), setting)
    with pass_bars(Console(stderr=True)) as bars:
        found = score_one_model(request, settings, data_folder(data_dir), cache_dir, bars)
    if as_json:
        print(scores_json(request.model, found))
    else:
        print_scores(request.model, found.scores, terminal())
    if any(score.result is None for score in found.scores):
        raise typer.Exit(INCOMPLETE)


app.command(epilog="Example: scaling recipe jobs/studies/quickstart.yaml --flops 1e13 --region IT")(recipe)
app.command(epilog="Example: scaling verify jobs/studies/quickstart.yaml --flops 1e13 --region accuracy")(verify)
app.command(epilog="Example: scaling slurm jobs/studies/cifar10_it.yaml --gpus-per-node 4 --time 12:00:00")(slurm)
app.command(epilog="Example: scaling watch jobs/studies/quickstart.yaml --serve")(watch)


app.command(epilog="Example: scaling fit scores.csv --form chinchilla --region IT --where dataset=imagenet,ecoset")(fit)
app.command(epilog="Example: scaling report jobs/studies/quickstart.yaml --out report")(report)


@app.command(epilog="Example: scaling ui jobs/studies/quickstart.yaml --port 5000")
@bad_input_ends
def ui(
    study: StudyFile,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5000,
    storage: StorageOption = None,
) -> None:
    """Open MLflow's UI on the study's store, on loopback, until Ctrl-C."""
    from jobs.ui import serve_ui

    raise typer.Exit(serve_ui(opened(study, storage), port))


@app.command(epilog="Example: scaling fetch kriegeskorte2008 --data-dir data")
@bad_input_ends
def fetch(
    name: Annotated[str, typer.Argument(help="A public data set, e.g. kriegeskorte2008.")],
    data_dir: DataDir = None,
) -> None:
    """Download a public data set into the data folder and check its files' hashes."""
    from scaling.data.recordings.fetch import fetch as fetch_files

    for path in fetch_files(name, data_folder(data_dir)):
        print(path)


def main() -> Any:
    return app()


if __name__ == "__main__":
    main()
