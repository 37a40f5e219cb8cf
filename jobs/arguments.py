"""What several commands take: options, their parsing, the study that they name; and how refusals end."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from scaling.errors import StudyError
from scaling.place import is_uri, scrub
from scaling.specs.base import override
from scaling.specs.scoring import ScoringSpec
from scaling.specs.wording import said, shown_value

if TYPE_CHECKING:
    from jobs.study_run import Outcome
    from scaling.ledger import Study
    from scaling.zoo.study import ZooStudy

P = ParamSpec("P")
R = TypeVar("R")
BAD_INPUT, INCOMPLETE = 2, 1
PIPE_WIDTH = 120
MISALIGNMENT = "misalignment"  # what laws are of, unless --target says otherwise
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it in a submitted job's entry point

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
            print(f"scaling: {scrub(str(error))}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error

    return wrapped


def ended(outcome: Outcome) -> None:
    """Exit as a study's run ended; at once where Ray's own ending would wait for a cluster that is gone."""
    if outcome.stopped is not None and outcome.stopped.at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(outcome.status)
    if outcome.status:
        raise typer.Exit(outcome.status)


def conditions(where: list[str] | None) -> dict[str, Any]:
    """['dataset=imagenet,ecoset', 'is_ssl=false'] -> column -> text, or list of texts; the column says what they are.

    Raises:
        StudyError: a condition without '=', a column that comes twice.
    """
    parsed: dict[str, Any] = {}
    for condition in where or []:
        column, equals, values = condition.partition("=")
        if not equals or not column or not values:
            raise StudyError(f"--where '{condition}' is no condition; write COLUMN=VALUE or COLUMN=VALUE,VALUE")
        if column in parsed:
            raise StudyError(f"--where {column}=… is given twice; write all values at once, {column}=VALUE,VALUE")
        found = values.split(",")
        parsed[column] = found[0] if len(found) == 1 else found
    return parsed


def column_map(columns: list[str] | None) -> dict[str, str]:
    """['n_params=Model Size'] -> the file's name -> ours.

    Raises:
        StudyError: a pair without '=', a column of theirs that comes twice.
    """
    parsed: dict[str, str] = {}
    for pair in columns or []:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours or not theirs:
            raise StudyError(f"--column '{pair}' is no pair; write OURS=THEIRS, e.g. n_params='Model Size'")
        if theirs in parsed:
            raise StudyError(f"--column names '{theirs}' as {parsed[theirs]} and as {ours}; give it one meaning")
        parsed[theirs] = ours
    return parsed


def refuse_unused(what: str, remedy: str = "leave it out", **given: Any) -> None:
    """Refuse (StudyError) options that `what` has no use for: those given, by their names with _ for -."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if names:
        raise StudyError(f"{what} takes no {', '.join(names)}; {remedy}")


def asked(question: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An answer of the analysis, whose refusals are ValueErrors and missing files."""
    try:
        return question(*args, **kwargs)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise StudyError("; ".join(_named(detail) for detail in details)) from error
    except OSError as error:
        named = f"'{error.filename}': {error.strerror}" if error.filename else str(error)
        raise StudyError(f"{named}; give another path") from error
    except ValueError as error:
        raise StudyError(str(error)) from error


def _named(detail: Any) -> str:
    """A refused option with its value; what a form refuses as a whole speaks for itself."""
    named = detail["loc"] and detail["type"] != "value_error"
    return f"{detail['loc'][0]}={shown_value(detail['input'])}: {said(detail)}" if named else said(detail)


def show(answer: Any, as_json: bool) -> None:
    print(json.dumps(answer.to_dict(), indent=2) if as_json else answer.text())


def terminal() -> Console:
    """The terminal at its own width; a file or pipe gets lines of 120 characters."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def opened(path: Path, storage: str | None) -> Study:
    """The opened study; inside a Ray job, whose folder is deleted, a relative storage is refused."""
    from scaling.ledger import open_study
    from scaling.specs.zoo import is_zoo

    if is_zoo(path):
        raise StudyError(
            f"{path} is a zoo study, whose models were trained elsewhere: run, plan, status and report take it"
        )
    study = open_study(path, storage)
    _check_stays(study.spec.storage)
    return study


def opened_zoo(path: Path, storage: str | None) -> ZooStudy | None:
    """The opened zoo study; None of a study whose models are trained. A relative storage is refused as by `opened`."""
    from scaling.specs.zoo import is_zoo

    if not is_zoo(path):
        return None
    from scaling.zoo.study import open_zoo

    study = open_zoo(path, storage)
    _check_stays(study.spec.storage)
    return study


def _check_stays(written: str) -> None:
    relative = not is_uri(written) and not Path(written).expanduser().is_absolute()
    if relative and RAY_JOB in os.environ:
        raise StudyError(
            f"storage='{written}' is relative, and a Ray job's folder is deleted with it; "
            "give --storage an absolute path that all nodes share, or a URI such as s3://bucket/folder"
        )


def scoring_settings(base: ScoringSpec, settings: list[str] | None) -> ScoringSpec:
    """The settings of scoring with some replaced, e.g. 'commitment=all'."""
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise StudyError(f"--set '{setting}' is no setting; write NAME=VALUE, e.g. commitment=all")
        changes[name] = value
    return override(base, changes, "--set")


def finite(value: float | None) -> float | None:
    """Of an option whose number is neither infinite nor none."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


def data_folder(data_dir: Path | None) -> Path:
    from scaling.data.recordings.fetch import default_data_dir

    return data_dir or default_data_dir()
