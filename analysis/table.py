"""ScalingTable: one row a model and benchmark, whether it comes from a study's store or from a published CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import files
from analysis.columns import (
    ACCURACY,
    CONFIGURATION,
    MEASURED,
    MISALIGNMENT,
    REGION_ALIASES,
    listed,
    measured,
    measured_name,
)
from analysis.limits import check
from analysis.means import mean_of_parts, with_every_part
from analysis.published_columns import rename

SIMULATED = "simulated"  # in the name of every benchmark that is


@dataclass(frozen=True)
class ScalingTable:
    """Rows of (model, benchmark) with checked columns, and a count of what was left out on the way.

    frame: columns in our words (n_params, n_samples, samples_seen, flops, flops_per_image, score, accuracy, region,
    family, dataset, ...), natural units; left_out: reason -> number of rows.
    """

    frame: pd.DataFrame
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, columns: Mapping[str, str] | None = None, where: str = "a data frame"
    ) -> ScalingTable:
        """A table from a data frame; `columns` maps its names to ours. Values out of limits are refused.

        `frame.attrs["left_out"]` (reason -> number of rows), where it is set, is what was left out before.
        """
        renamed = rename(frame.reset_index(drop=True), columns)
        return cls(check(renamed, where), dict(frame.attrs.get("left_out", {})))

    @classmethod
    def from_csv(cls, path: str | Path, columns: Mapping[str, str] | None = None) -> ScalingTable:
        """A table from a CSV; the published one (Gokce & Schrimpf 2025) is recognized and renamed to our words."""
        return cls.from_frame(files.read_csv(path), columns, where=Path(path).name)

    @classmethod
    def from_parquet(cls, path: str | Path, columns: Mapping[str, str] | None = None) -> ScalingTable:
        """A table from a Parquet file or folder, local or on any filesystem that pyarrow knows."""
        return cls.from_frame(files.read_parquet(path), columns, where=str(path))

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.frame.columns]

    def column(self, name: str) -> pd.Series:
        """One column; a missing one is refused with the list of those there are."""
        if name not in self.frame:
            raise ValueError(f"the table has no column {name!r}; its columns: {listed(self.columns)}")
        return self.frame[name]

    def values(self, name: str) -> npt.NDArray[np.float64]:
        """One numeric column as float64."""
        return self.column(name).to_numpy(dtype=np.float64, na_value=np.nan)

    def unique(self, name: str) -> list[Any]:
        """The distinct values of a column, in order of appearance, missing ones aside."""
        return list(self.column(name).dropna().unique())

    def select(self, **conditions: Any) -> ScalingTable:
        """Rows whose columns equal a value or one of a list; None stands for a missing value ("all" images).

        An unknown column or a value that no row has is refused, with the known ones listed.
        """
        keep = np.ones(len(self.frame), dtype=bool)
        for name, wanted in conditions.items():
            keep &= self._matches(name, wanted)
        return self._keep(keep)

    def _matches(self, name: str, wanted: Any) -> npt.NDArray[np.bool_]:
        many = isinstance(wanted, (list, tuple, set, frozenset, np.ndarray))
        choices = [REGION_ALIASES.get(v, v) if name == "region" else v for v in (wanted if many else [wanted])]
        column = self.column(name)
        known = set(column.dropna().unique())
        unknown = [v for v in choices if v is not None and not isinstance(v, bool | np.bool_) and v not in known]
        if unknown:
            raise ValueError(f"no row has {name}={unknown[0]!r}; the table's values: {listed(known)}")
        matches = column.isin([v for v in choices if v is not None]).to_numpy(dtype=bool)
        return matches | column.isna().to_numpy() if None in choices else matches

    def require(self, *names: str) -> ScalingTable:
        """Rows that have a value in every column named; what drops out is counted in `left_out`."""
        table = self
        for name in names:
            missing = table.column(name).isna().to_numpy()
            table = table._keep(~missing, {f"{name} missing": int(missing.sum())})
        return table

    def where(self, keep: npt.NDArray[np.bool_], reason: str = "") -> ScalingTable:
        """Rows where `keep` (n,) holds; with a reason, those that drop out are counted under it."""
        return self._keep(np.asarray(keep, dtype=bool), {reason: int((~keep).sum())} if reason else {})

    def _keep(self, keep: npt.NDArray[np.bool_], dropped: Mapping[str, int] | None = None) -> ScalingTable:
        return ScalingTable(self.frame[keep].reset_index(drop=True), _add(self.left_out, dropped or {}))

    def with_columns(self, **columns: Any) -> ScalingTable:
        """The table with columns added or replaced: one value for all rows, or one a row."""
        return ScalingTable(self.frame.assign(**columns), self.left_out)

    def with_accuracy(self) -> ScalingTable:
        """These rows, and one more a model whose score is its held-out accuracy: benchmark and region 'accuracy'.

        Its law is then that of the error, 1 - accuracy, beside the laws of misalignment. A table that has such rows
        stays as it is.
        """
        if ACCURACY in self.unique("region"):
            return self
        self.column("accuracy")
        models = self.frame.drop_duplicates(self._identity("benchmark"))
        models = models[models["accuracy"].notna()]
        measured: dict[str, Any] = {name: np.nan for name in MEASURED if name in models}
        measured |= {"benchmark": ACCURACY, "region": ACCURACY, "score": models["accuracy"]}
        rows = models.assign(**measured)
        return ScalingTable(pd.concat([self.frame, rows], ignore_index=True), self.left_out)

    def group(self, *names: str) -> Iterator[tuple[Any, ScalingTable]]:
        """(value, table) for each value of a column, or (values, table) of several, in sorted order."""
        for name in names:
            self.column(name)
        for value, frame in self.frame.groupby(list(names), sort=True):
            yield value[0] if len(names) == 1 else value, ScalingTable(frame.reset_index(drop=True), self.left_out)

    def mean_over(self, column: str = "region", require: Sequence[str] = (), of: str = "score") -> ScalingTable:
        """One row a model: the mean of the score (or of another column) over `column` (regions, benchmarks, seeds).

        A mean is taken over all parts that the table has, each benchmark of a region one; models that lack one, or a
        column of `require`, drop out, counted by what they lack. A mean over seeds is one of each benchmark.
        Rows of one model agree in every column that is no measurement; what differs is dropped.
        """
        table = self.require(*require)
        keys = table._identity(column)
        part = [n for n in dict.fromkeys((column, "benchmark")) if n in table.frame and n not in keys]
        frame, lacking = with_every_part(table.frame, keys, part, of)
        mean = mean_of_parts(frame, keys, of, drop=(*MEASURED, column))
        mean[column] = "+".join(str(v) for v in table.unique(column)) if column == "region" else "mean"
        if "benchmark" in table.frame and "benchmark" not in keys:
            mean["benchmark"] = " + ".join(str(v) for v in table.unique("benchmark"))
        reasons = {f"no {of} for {what}, left out of the mean over {column}": n for what, n in lacking.items()}
        return ScalingTable(mean, _add(table.left_out, reasons))

    def positive(self, target: str) -> ScalingTable:
        """Rows whose `target` is above 0, as a law in logarithms needs; others drop out, counted by their benchmark.

        A score at or above its ceiling, which is itself an estimate, has no logarithm of its misalignment 1 - score.
        """
        name = measured_name(target)
        bad = measured(target, self.values(name)) <= 0
        if not bad.any():
            return self
        said = f"{name} of {'1 or more' if target == MISALIGNMENT else '0 or less'}"
        named = "benchmark" in self.frame
        where = [f" on {name}" for name in self.frame["benchmark"][bad]] if named else [""] * int(bad.sum())
        reasons = {f"{said}{on}: no logarithm of {target}": n for on, n in Counter(where).items()}
        return ScalingTable(self.frame[~bad].reset_index(drop=True), _add(self.left_out, reasons))

    def _identity(self, column: str) -> list[str]:
        """Columns that name one model at one point of its training."""
        self.column(column)
        known = [name for name in ("run_id", "epoch", "samples_seen") if name in self.frame and name != column]
        if "run_id" in known and column != "seed":
            return known
        inner = ("region", "benchmark") if column == "seed" else ("seed",)
        names = (*CONFIGURATION, "samples_seen", "flops", *inner)
        return [name for name in names if name in self.frame and name != column]

    def clusters(self, axes: Sequence[str] = ()) -> npt.NDArray[np.int64]:
        """Codes (n,) of the configurations: rows that differ in seed, checkpoint or benchmark alone share one.

        Without a run_id no checkpoints are known, and rows that differ in an axis (any column) are configurations.
        """
        keys = [name for name in CONFIGURATION if name in self.frame]
        if "run_id" not in self.frame:
            keys += [n for n in dict.fromkeys(("samples_seen", "flops", *axes)) if n in self.frame and n not in keys]
        if not keys:
            return np.arange(len(self.frame), dtype=np.int64)
        codes = self.frame.groupby(keys, dropna=False, sort=False).ngroup()
        return np.asarray(codes, dtype=np.int64)

    def names_simulated(self) -> bool:
        """Whether any benchmark is a simulated one."""
        return any(SIMULATED in str(v).lower() for v in (self.unique("benchmark") if "benchmark" in self.frame else []))


def _add(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {k: first.get(k, 0) + second.get(k, 0) for k in (*first, *second) if first.get(k, 0) + second.get(k, 0)}
