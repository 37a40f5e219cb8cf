"""The `scaling` command; every subcommand is a thin call into the packages."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from scaling.errors import StudyError
from scaling.specs.base import override
from scaling.specs.scoring import ScoringSpec
from scaling.specs.study import StudySpec
from scaling.study import load_study

P = ParamSpec("P")
R = TypeVar("R")
BAD_INPUT, INCOMPLETE = 2, 1
PIPE_WIDTH = 120
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it in a submitted job's entry point

app = typer.Typer(
    name="scaling",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Scaling-law studies of vision models and their alignment to the primate ventral stream.",
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (YAML).")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="SCALING_DATA_DIR", help="Where data sets lie [default: the user's cache]."),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", envvar="SCALING_CACHE_DIR", help="Where decoded images lie [default: the user's cache]."
    ),
]
Where = Annotated[list[str] | None, typer.Option("--where", help="COLUMN=VALUE[,VALUE]; may be repeated.")]
Column = Annotated[
    list[str] | None, typer.Option("--column", help="OURS=THEIRS, a column of the table by another name; repeatable.")
]
Target = Annotated[str, typer.Option(help="What the law predicts: misalignment (1 - score), loss or a column.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StorageOption = Annotated[str | None, typer.Option("--storage", help="Instead of the study file's storage.")]
Address = Annotated[
    str | None, typer.Option("--address", help="A Ray cluster, host:port or 'auto' [default: start Ray here].")
]


def bad_input_ends(command: Callable[P, R]) -> Callable[P, R]:
    """A StudyError becomes its message on stderr and exit status 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except StudyError as error:
            print(f"scaling: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error

    return wrapped


def conditions(where: list[str] | None) -> dict[str, Any]:
    """['dataset=imagenet,ecoset', 'is_ssl=false'] -> column -> value, or list of values.

    Raises:
        StudyError: a condition without '='.
    """
    parsed: dict[str, Any] = {}
    for condition in where or []:
        column, equals, values = condition.partition("=")
        if not equals or not column or not values:
            raise StudyError(f"--where '{condition}' is no condition; write COLUMN=VALUE or COLUMN=VALUE,VALUE")
        found = [{"true": True, "false": False}.get(value.lower(), value) for value in values.split(",")]
        parsed[column] = found[0] if len(found) == 1 else found
    return parsed


def column_map(columns: list[str] | None) -> dict[str, str]:
    """['n_params=Model Size'] -> the file's name -> ours.

    Raises:
        StudyError: a pair without '='.
    """
    parsed = {}
    for pair in columns or []:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours or not theirs:
            raise StudyError(f"--column '{pair}' is no pair; write OURS=THEIRS, e.g. n_params='Model Size'")
        parsed[theirs] = ours
    return parsed


def asked(question: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An answer of the analysis, whose refusals are ValueErrors and missing files."""
    try:
        return question(*args, **kwargs)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise StudyError("; ".join(_named(detail) for detail in details)) from error
    except (ValueError, FileNotFoundError) as error:
        raise StudyError(str(error)) from error


def _named(detail: Any) -> str:
    """A refused option with its value; what a form refuses as a whole speaks for itself."""
    message = detail["msg"].removeprefix("Value error, ")
    named = detail["loc"] and detail["type"] != "value_error"
    return f"{detail['loc'][0]}={detail['input']!r}: {message}" if named else message


def show(answer: Any, as_json: bool) -> None:
    print(json.dumps(answer.to_dict(), indent=2) if as_json else answer.text())


def terminal() -> Console:
    """The terminal at its own width; a file or pipe gets lines of 120 characters."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def read_study(path: Path, storage: str | None) -> StudySpec:
    """The study, its storage overridden; inside a Ray job, whose folder is deleted, a relative path is refused."""
    study = load_study(path)
    study = study if storage is None else study.model_copy(update={"storage": storage})
    relative = "://" not in study.storage and not Path(study.storage).expanduser().is_absolute()
    if relative and RAY_JOB in os.environ:
        raise StudyError(
            f"storage='{study.storage}' is relative, and a Ray job's folder is deleted with it; "
            "give --storage an absolute path that all nodes share, or a URI such as s3://bucket/folder"
        )
    return study


def scoring_settings(base: ScoringSpec, settings: list[str] | None) -> ScoringSpec:
    """The settings of scoring with some replaced, e.g. 'commitment=all'."""
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise StudyError(f"--set '{setting}' is no setting; write NAME=VALUE, e.g. commitment=all")
        changes[name] = value
    return override(base, changes, "--set")


def override_scoring(study: StudySpec, settings: list[str] | None) -> StudySpec:
    return study.model_copy(update={"scoring": scoring_settings(study.scoring, settings)})


def data_folder(data_dir: Path | None) -> Path:
    from scaling.data.recordings.fetch import default_data_dir

    return data_dir or default_data_dir()


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
    from jobs.run import RunOptions, run_study

    spec = read_study(study, storage)
    options = RunOptions(data_folder(data_dir), address, mlflow, concurrency, cache_dir, terminal())
    left = run_study(spec, options)
    if not left.is_empty:
        raise typer.Exit(INCOMPLETE)


@app.command(epilog="Example: scaling plan jobs/studies/quickstart.yaml --throughput 2e9")
@bad_input_ends
def plan(
    study: StudyFile,
    address: Address = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    storage: StorageOption = None,
    throughput: Annotated[
        float | None, typer.Option(min=1.0, help="Training FLOP/s of one worker [default: time each model here].")
    ] = None,
) -> None:
    """What every run would cost (N, images, samples seen, C, memory, time) and what would be refused."""
    from jobs.plan import plan_study, print_plan

    planned = plan_study(read_study(study, storage), data_folder(data_dir), address, throughput, cache_dir)
    print_plan(planned, terminal())
    if planned.refused:
        raise typer.Exit(BAD_INPUT)


@app.command(epilog="Example: scaling models resnet vit")
@bad_input_ends
def models(
    families: Annotated[
        list[str] | None, typer.Argument(metavar="[FAMILY]...", help="Families [default: all].")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in GitHub's Markdown.")] = False,
) -> None:
    """Every family's ladder of sizes, with parameters and FLOPs, counted without building weights."""
    from jobs.models import ladder_rows, markdown_ladders, print_ladders

    rows = ladder_rows(families or [])
    if markdown:
        print(markdown_ladders(rows))
    else:
        print_ladders(rows, terminal())


@app.command(epilog="Example: scaling presets convnext")
@bad_input_ends
def presets(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Presets [default: all].")] = None,
) -> None:
    """Named training presets, their sources, and what differs from them here."""
    from jobs.presets import presets_named, print_presets

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
    from jobs.status import print_status

    print_status(read_study(study, storage), terminal())


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
    images: Annotated[str, typer.Option(help="Dataset whose held-out images the simulated suite shows.")] = "digits",
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
    from jobs.score import ModelRequest, print_scores, score_one_model, score_study, scores_json

    if (study is None) == (model is None):
        raise StudyError("score: give either a study file or --model timm:NAME")
    if study is not None:
        from jobs.run import RunOptions

        spec = override_scoring(read_study(study, storage), setting)
        options = RunOptions(data_folder(data_dir), address, mlflow, None, cache_dir, terminal())
        left = score_study(spec, benchmark or [], options)
        raise typer.Exit(0 if left.is_empty else INCOMPLETE)
    request = ModelRequest(
        str(model), tuple(benchmark or ()), pretrained, weights, tuple(layer or ()), image_size, images
    )
    errors = Console(stderr=True)
    scores = score_one_model(
        request, scoring_settings(ScoringSpec(), setting), data_folder(data_dir), errors, cache_dir
    )
    if as_json:
        print(scores_json(request.model, scores))
    else:
        print_scores(request.model, scores, terminal())
    if any(score.result is None for score in scores):
        raise typer.Exit(INCOMPLETE)


@app.command(epilog="Example: scaling recipe jobs/studies/quickstart.yaml --flops 1e13 --region IT")
@bad_input_ends
def recipe(
    source: Annotated[
        Path, typer.Argument(metavar="STUDY|TABLE|RECIPE", help="Study (YAML), table (CSV, Parquet) or recipe (JSON).")
    ],
    flops: Annotated[float, typer.Option(help="The budget: total training FLOP.")],
    region: Annotated[
        str | None, typer.Option(help="Make the most of this region, or of accuracy [default: IT].")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this model family.")] = None,
    score: Annotated[
        float | None, typer.Option(help="Tables and recipes: also the compute to reach this score.")
    ] = None,
    storage: StorageOption = None,
    where: Where = None,
    column: Column = None,
    target: Target = "misalignment",
    as_json: AsJson = False,
) -> None:
    """Which model size and how many images a budget buys, what alignment to expect, and how sure that is."""
    if source.suffix not in {".yaml", ".yml"}:
        from analysis.commands import recipe_command

        options: dict[str, Any] = {"where": conditions(where)} if where else {}
        options |= {"columns": column_map(column)} if column else {}
        options |= {"target": target} if source.suffix != ".json" else {}
        show(asked(recipe_command, source, flops=flops, score=score, region=region, family=family, **options), as_json)
        return
    from jobs.answer import answer_study, print_recipe, recipe_json

    answer = answer_study(read_study(source, storage))
    allocations = answer.allocate(flops, region, family)
    if as_json:
        print(json.dumps(recipe_json(allocations, region or answer.target), indent=2))
    else:
        print_recipe(allocations, flops, region or answer.target, terminal())


@app.command(epilog="Example: scaling fit scores.csv --form chinchilla --region IT --where dataset=imagenet,ecoset")
@bad_input_ends
def fit(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A table (CSV, Parquet) or a study's results folder.")],
    form: Annotated[str, typer.Option(help="The law's form; an unknown one lists the known.")] = "power_law",
    axes: Annotated[str, typer.Option(help="Comma-separated columns [default: the form's own].")] = "",
    region: Annotated[str | None, typer.Option(help="One region, or accuracy [default: each].")] = None,
    mean: Annotated[bool, typer.Option("--mean", help="The mean over regions instead of each.")] = False,
    where: Where = None,
    column: Column = None,
    target: Target = "misalignment",
    huber_delta: Annotated[float, typer.Option(help="Of the Huber loss on log residuals; inf: squares.")] = 1e-3,
    bootstrap: Annotated[int, typer.Option(min=0, help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    extrapolate: Annotated[bool, typer.Option("--extrapolate", help="Test every form on the costliest runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a scaling law to a table, with bootstrap intervals and a status."""
    from analysis.commands import fit_command

    columns = tuple(name for name in axes.split(",") if name)
    show(
        asked(
            fit_command, table, form, columns, region, mean, conditions(where), extrapolate, column_map(column),
            bootstrap=bootstrap, seed=seed, target=target, huber_delta=huber_delta,
        ),
        as_json,
    )  # fmt: skip


@app.command(epilog="Example: scaling report --table scores.csv --out report")
@bad_input_ends
def report(
    table: Annotated[Path, typer.Option(help="A table (CSV, Parquet) or a study's results folder.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    where: Where = None,
) -> None:
    """Every figure of a table, and a page that explains each."""
    from analysis.commands import report_command

    asked(report_command, table, out, conditions(where))
    print(f"report: {out / 'report.html'}")


@app.command(epilog="Example: scaling ui jobs/studies/quickstart.yaml --port 5000")
@bad_input_ends
def ui(
    study: StudyFile,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5000,
    storage: StorageOption = None,
) -> None:
    """Open MLflow's UI on the study's store, on loopback, until Ctrl-C."""
    from jobs.status import serve_ui

    raise typer.Exit(serve_ui(read_study(study, storage), port))


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
