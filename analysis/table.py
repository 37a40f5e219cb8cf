"""ScalingTable: one row a model and benchmark, whether it comes from a study's store or from a published CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    NAMED,
    REGION_ALIASES,
    TRAINED,
    listed,
    measured,
    measured_name,
)
from analysis.configurations import configurations
from analysis.limits import check, is_text, numbers, texts_among_numbers
from analysis.matching import matching
from analysis.means import mean_of_parts, with_every_part
from analysis.published_columns import rename

SIMULATED = "simulated"  # in the name of every benchmark that is


@dataclass(frozen=True)
class ScalingTable:
    """Rows of (model, benchmark) with checked columns, and a count of what was left out on the way.

    frame: columns in our words (n_params, n_samples, samples_seen, flops, flops_per_image, score, accuracy, region,
    family, dataset, ...), natural units; left_out: reason -> number of rows; texts: column -> what is no number in a
    column that holds some -> the row of the file that it stands in.
    """

    frame: pd.DataFrame
    left_out: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, columns: Mapping[str, str] | None = None, where: str = "a data frame"
    ) -> ScalingTable:
        """A table from a data frame; `columns` maps its names to ours. Values out of limits are refused.

        `frame.attrs["left_out"]` (reason -> number of rows), where it is set, is what was left out before.
        """
        levels = [name for name in frame.index.names if name is not None and name not in frame]
        named = frame.reset_index(levels).reset_index(drop=True) if levels else frame.reset_index(drop=True)
        checked = check(rename(named, columns), where)
        return cls(checked, dict(frame.attrs.get("left_out", {})), texts_among_numbers(checked, where))

    @classmethod
    def from_csv(cls, path: str | Path, columns: Mapping[str, str] | None = None, where: str = "") -> ScalingTable:
        """A table from a CSV; the published one (Gokce & Schrimpf 2025) is recognized and renamed to our words.

        where: what errors call it; by default the file's name.
        """
        return cls.from_frame(files.read_csv(path), columns, where or Path(path).name)

    @classmethod
    def from_parquet(cls, path: str | Path, columns: Mapping[str, str] | None = None, where: str = "") -> ScalingTable:
        """A table from a Parquet file or folder, local or on any filesystem that pyarrow knows."""
        return cls.from_frame(files.read_parquet(path), columns, where or str(path))

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
        """One numeric column as float64; text in it is refused with its row."""
        column = self.column(name)
        if not is_text(column):
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers(column, name, "the rows chosen", self.texts.get(name, {})).to_numpy()

    def unique(self, name: str) -> list[Any]:
        """The distinct values of a column, in order of appearance, missing ones aside."""
        return list(self.column(name).dropna().unique())

    def select(self, **conditions: Any) -> ScalingTable:
        """Rows whose columns equal a value or one of a list; None stands for a missing value ("all" images).

        Text that is a number ('10') also stands for that number. Rows without a region or family, where one is
        chosen, are counted. An unknown column or a value that no row has is refused, with the known ones listed.
        """
        keep = np.ones(len(self.frame), dtype=bool)
        unnamed = {}
        for name, wanted in conditions.items():
            choices = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset, np.ndarray)) else [wanted]
            if name in NAMED and None not in choices:  # a row without a name is not chosen, and might have been meant
                unnamed[f"{name} missing"] = int((keep & self.column(name).isna().to_numpy()).sum())
            keep &= matching(self.column(name), [REGION_ALIASES.get(v, v) if name == "region" else v for v in choices])
        return self._keep(keep, unnamed)

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
        return self._with(self.frame[keep].reset_index(drop=True), dropped or {})

    def _with(self, frame: pd.DataFrame, dropped: Mapping[str, int] | None = None) -> ScalingTable:
        """Other rows of this table, and what dropped out on the way to them."""
        return replace(self, frame=frame, left_out=_add(self.left_out, dropped or {}))

    def with_columns(self, **columns: Any) -> ScalingTable:
        """The table with columns added or replaced: one value for all rows, or one a row."""
        texts = {name: found for name, found in self.texts.items() if name not in columns}
        return replace(self, frame=self.frame.assign(**columns), texts=texts)

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
        return self._with(pd.concat([self.frame, rows], ignore_index=True))

    def group(self, *names: str) -> Iterator[tuple[Any, ScalingTable]]:
        """(value, table) for each value of a column, or (values, table) of several, in sorted order.

        Rows without a value are in none, and counted in each table; ValueError where no row has one.
        """
        known = self.require(*names)
        if len(self) and not len(known):
            raise ValueError(f"no row has a {' and a '.join(names)}; fill the column in, or leave it out of the table")
        for value, frame in known.frame.groupby(list(names), sort=True):
            yield value[0] if len(names) == 1 else value, known._with(frame.reset_index(drop=True))

    def mean_over(self, column: str = "region", require: Sequence[str] = (), of: str = "score") -> ScalingTable:
        """One row a model: the mean of the score (or of another column) over `column` (regions, benchmarks, seeds).

        A mean is taken over all parts that the table has, each benchmark of a region one; models that lack one, or a
        column of `require`, drop out, counted by what they lack. A mean over seeds is one of each benchmark.
        Rows of one model agree in every column that is no measurement; what differs is dropped.
        """
        table = self.require(column, *require)
        table = table.with_columns(**{of: table.values(of)})
        keys = table._identity(column)
        part = [n for n in dict.fromkeys((column, "benchmark")) if n in table.frame and n not in keys]
        frame, lacking = with_every_part(table.frame, keys, part, of)
        mean = mean_of_parts(frame, keys, of, drop=(*MEASURED, column))
        mean[column] = "+".join(str(v) for v in table.unique(column)) if column == "region" else "mean"
        if "benchmark" in table.frame and "benchmark" not in keys:
            mean["benchmark"] = " + ".join(str(v) for v in table.unique("benchmark"))
        reasons = {f"no {of} for {what}, left out of the mean over {column}": n for what, n in lacking.items()}
        conventions = sorted(map(str, frame["ceiled"].dropna().unique())) if "ceiled" in frame and len(frame) else []
        if len(conventions) > 1:
            reasons[f"scores by {' and by '.join(conventions)}, which are averaged with each other"] = len(frame)
        return table._with(mean, reasons)

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
        return self._keep(~bad, reasons)

    def _identity(self, column: str) -> list[str]:
        """Columns that name one model at one point of its training: its run, and what makes a configuration."""
        self.column(column)
        inner = ("region", "benchmark") if column == "seed" else ("run_id", "model", "seed", "epoch")
        names = (*inner, *CONFIGURATION, *TRAINED)
        return [name for name in names if name in self.frame and name != column]

    def clusters(self, axes: Sequence[str] = ()) -> npt.NDArray[np.int64]:
        """Codes (n,) of the configurations: rows that differ in seed, checkpoint or benchmark alone share one.

        See `configurations`; rows that differ in an axis (any column) are of different configurations.
        """
        return configurations(self.frame, axes)

    def names_simulated(self) -> bool:
        """Whether any benchmark is a simulated one."""
        return any(SIMULATED in str(v).lower() for v in (self.unique("benchmark") if "benchmark" in self.frame else []))


def _add(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {k: first.get(k, 0) + second.get(k, 0) for k in (*first, *second) if first.get(k, 0) + second.get(k, 0)}
