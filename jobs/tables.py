"""Tables and recipes by path: what `scaling fit`, `scaling recipe` and `scaling report` read before they ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis import FitSpec, Recipe, ScalingTable, ask_recipe, build_recipe, files, fit_targets
from analysis.fit.targets import TargetLaws
from analysis.mapping.forecast import Forecast, forecasts
from analysis.mapping.laws import fit_mapping
from analysis.parts import check_parts
from analysis.recipe.ask import RecipeAnswer
from scaling.errors import StudyError
from scaling.frames import results_table
from scaling.place import Place, is_uri, shown
from scaling.storage import Storage

Conditions = Mapping[str, Any]  # column -> value, or list of values
Names = Mapping[str, str]  # the file's name -> ours


def named(path: str | Path) -> str:
    """The last part of a path or URI, in lower case."""
    return Place.of(path).name.lower() if is_uri(path) else Path(path).name.lower()


def read_table(path: str | Path, where: Conditions | None = None, columns: Names | None = None) -> ScalingTable:
    """CSV or Parquet, told apart by name, or a study's results folder; a path or a URI. Rows are chosen by `where`.

    Raises StudyError for a file of another suffix, ValueError and OSError for what is no table.
    """
    name = named(path)
    if files.is_text(name):
        table = _from_file(ScalingTable.from_csv, path, columns)
    elif files.is_parquet(name):
        table = _from_file(ScalingTable.from_parquet, path, columns)
    elif Path(name).suffix and (is_uri(path) or not Path(path).is_dir()) and _is_file(path):
        raise StudyError(
            f"'{shown(path)}' is no table by its name; give {files.TAKEN}, or a study's results folder, such as "
            "results/quickstart"
        )
    else:
        table = ScalingTable.from_frame(results_table(path), columns, where=shown(path))
    return table.select(**(where or {}))


def is_table(path: str | Path) -> bool:
    """Whether it is a table's file by its name, rather than a study's results."""
    return files.is_text(named(path)) or files.is_parquet(named(path))


def _is_file(path: str | Path) -> bool:
    """Whether there is a file, rather than a folder or nothing."""
    folder, name = Storage.of_file(path)
    return bool(folder.file_infos([name])[0].is_file)


def _from_file(read: Callable[..., ScalingTable], path: str | Path, columns: Names | None) -> ScalingTable:
    with _local(path) as local:
        return read(local, columns, where=shown(path) if is_uri(path) else Path(path).name)


@contextmanager
def _local(path: str | Path) -> Iterator[Path]:
    """A local path, or a copy of a URI's file for the block's time."""
    if not is_uri(path):
        yield Path(path)
        return
    folder, name = Storage.of_file(path)
    with folder.local_file(name) as copy:
        yield copy


def fit_table(
    path: str | Path, form: str = "power_law", axes: Sequence[str] = (), region: str | None = None, mean: bool = False,
    where: Conditions | None = None, extrapolate: bool = False, columns: Names | None = None, **options: Any,
) -> TargetLaws:  # fmt: skip
    """`scaling fit TABLE`: a law for a region, for the mean over regions, or for each; options: as of `FitSpec`."""
    spec = FitSpec(form=form, axes=tuple(axes), **options)
    rows = read_table(path, where, columns)
    check_parts(rows, region, mean)
    return fit_targets(rows, spec, region, mean, extrapolate)


def ask_table(
    path: str | Path, flops: float | None = None, score: float | None = None, region: str | None = None,
    family: str | None = None, where: Conditions | None = None, columns: Names | None = None, **options: Any,
) -> RecipeAnswer:  # fmt: skip
    """`scaling recipe TABLE|RECIPE`: a saved recipe (.json) is asked as it is; options: as of `build_recipe`."""
    if named(path).endswith(".json"):
        with _local(path) as local:
            return ask_recipe(Recipe.load(local), flops, score, region)
    rows = read_table(path, where, columns)
    check_parts(rows, region, mean=region is None and "region" in rows.columns)
    return ask_recipe(build_recipe(rows, region, family, **options), flops, score, region)


def ask_stimuli(
    path: str | Path, flops: float, stimuli: float, region: str | None = None, family: str | None = None,
    where: Conditions | None = None, columns: Names | None = None,
) -> tuple[Forecast, ...]:  # fmt: skip
    """`scaling recipe TABLE --stimuli`: of each benchmark and family that has mapping curves; see `forecasts`."""
    return forecasts(fit_mapping(read_table(path, where, columns)), flops, stimuli, region, family)
