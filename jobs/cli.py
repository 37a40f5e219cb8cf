"""The `scaling` command: plan, run, status, recipe, ui, fetch. Every command is a thin call into the packages."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from scaling.errors import StudyError
from scaling.study import StudySpec, load_study

P, R = ParamSpec("P"), TypeVar("R")
BAD_INPUT, INCOMPLETE = 2, 1

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
StorageOption = Annotated[str | None, typer.Option("--storage", help="Instead of the study file's storage.")]
Address = Annotated[str | None, typer.Option("--address", help="A Ray cluster, host:port or 'auto' [default: start Ray here].")]


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


def read_study(path: Path, storage: str | None) -> StudySpec:
    study = load_study(path)
    return study if storage is None else study.model_copy(update={"storage": storage})


def data_folder(data_dir: Path | None) -> Path:
    from scaling.data.fetch import default_data_dir

    return data_dir or default_data_dir()


@app.callback()
def version_option(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        from scaling import __version__

        print(__version__)
        raise typer.Exit


@app.command(epilog="Example: scaling run jobs/studies/quickstart.yaml")
@bad_input_ends
def run(
    study: StudyFile,
    address: Address = None,
    data_dir: DataDir = None,
    storage: StorageOption = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track in MLflow.")] = True,
) -> None:
    """Train and score what the study lacks, then fit its laws and print the recipe. Run again, it resumes."""
    from jobs.run import RunOptions, run_study

    spec = read_study(study, storage)
    options = RunOptions(data_folder(data_dir), address, mlflow, Console())
    left = run_study(spec, options)
    if not left.is_empty:
        raise typer.Exit(INCOMPLETE)


def main() -> Any:
    return app()


if __name__ == "__main__":
    main()
