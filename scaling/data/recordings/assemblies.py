"""Assemblies: what benchmarks are scored against, from recordings of single presentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.catalogue import Selection
from scaling.data.recordings.netcdf import NEUROID, PRESENTATION, TIME, blocks, check_array_dimensions, coordinates
from scaling.data.recordings.presentations import Groups, as_texts, check_stimuli, group_presentations
from scaling.data.recordings.stimuli import StimulusSet
from scaling.errors import StudyError, known_names

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

REGION, NEUROID_ID = "region", "neuroid_id"


@dataclass(frozen=True, eq=False)
class Assembly:
    """Responses of one region to stimuli, repetition by repetition.

    Attributes:
        name: 'set.region'. region: visual area. source: for people.
        responses: (n_repetitions, n_stimuli, n_neuroids) float; NaN where a repetition is missing.
        stimulus_ids: n_stimuli distinct ids, in the order that splits index. neuroid_ids: in the order of the file.
        repetitions: labels of the first axis, ascending.
        strata: what splits are stratified by, one a stimulus (object_name, texture_type), or None.
        n_dropped: neuroids that were left out. subject, ceiling: one a neuroid; split ('train' or 'test'), group: one a
            stimulus; None where the file has none.

    Raises:
        StudyError: at construction, parts that do not fit each other, an infinite response, a stimulus without any
            response of a neuroid.
    """

    name: str
    region: str
    responses: NDArray[np.floating]
    stimulus_ids: tuple[str, ...]
    neuroid_ids: tuple[str, ...]
    repetitions: tuple[int | str, ...]
    strata: tuple[str, ...] | None = None
    source: str = ""
    n_dropped: int = 0
    subject: NDArray[Any] | None = None
    ceiling: NDArray[Any] | None = None
    split: NDArray[Any] | None = None
    group: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.repetitions), len(self.stimulus_ids), len(self.neuroid_ids))
        if self.responses.shape != shape or 0 in shape or self.responses.dtype.kind != "f":
            raise StudyError(
                f"assembly {self.name}: {self.responses.dtype} responses of shape {self.responses.shape} for "
                f"{shape[0]} repetitions × {shape[1]} stimuli × {shape[2]} neuroids; give floats of that shape, none "
                "of it 0"
            )
        if len(set(self.stimulus_ids)) != shape[1]:
            raise StudyError(f"assembly {self.name}: {shape[1]} stimuli, {len(set(self.stimulus_ids))} distinct ids")
        if self.strata is not None and len(self.strata) != shape[1]:
            raise StudyError(f"assembly {self.name}: {len(self.strata)} strata for {shape[1]} stimuli; give one each")
        self._check_values()

    def mean(self) -> NDArray[np.float64]:
        """Mean over the repetitions that are there: (n_stimuli, n_neuroids), summed in float64."""
        total, count = np.zeros(self.responses.shape[1:]), np.zeros(self.responses.shape[1:])
        for repetition in self.responses:  # one at a time: the whole is not copied
            there = ~np.isnan(repetition)
            np.add(total, repetition, out=total, where=there)
            count += there
        return total / count

    def _check_values(self) -> None:
        answered = np.zeros(self.responses.shape[1:], dtype=bool)
        for repetition in self.responses:
            if np.isinf(repetition).any():
                raise StudyError(f"assembly {self.name}: infinite responses; give NaN where a response is missing")
            answered |= ~np.isnan(repetition)
        if not answered.all():
            stimulus, neuroid = np.argwhere(~answered)[0]
            raise StudyError(
                f"assembly {self.name}: {int((~answered).sum()):,} of {answered.size:,} pairs of stimulus and neuroid "
                f"without a response in any repetition, first stimulus {self.stimulus_ids[stimulus]!r} × neuroid "
                f"{self.neuroid_ids[neuroid]!r}; leave those neuroids or stimuli out; incomplete='drop' in a file of "
                "your own leaves out the neuroids"
            )


class Recording(NamedTuple):
    """Stimuli, and one assembly a region over them, in their order."""

    stimuli: StimulusSet
    assemblies: list[Assembly]


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where the values of a file go: presentations, and the columns of each region."""

    groups: Groups
    columns: dict[str, NDArray[np.intp]]
    neuroid_ids: NDArray[np.str_]
    strata: tuple[str, ...] | None
    bins: slice | None


def assemblies_from(array: xr.DataArray, table: pd.DataFrame, selection: Selection) -> list[Assembly]:
    """One assembly a region, filled in a single pass over the blocks of a (lazy) array.

    Stimuli come in the order of `group_presentations`, neuroids in that of the file. float32 stays float32.

    Memory: the assemblies, and one block.

    Args:
        array: presentation × neuroid [× time_bin]. table: from `read_stimulus_table`.

    Raises:
        StudyError: stimuli that the table lacks, a region, a time window or a column that is not there, two
            presentations of a stimulus that are the same repetition.
    """
    plan = _plan(array, table, selection)
    responses = _fill(array, plan)
    return [
        Assembly(
            name=f"{selection.name}.{region}",
            region=region,
            responses=responses[region],
            stimulus_ids=plan.groups.stimulus_ids,
            neuroid_ids=tuple(plan.neuroid_ids[columns].tolist()),
            repetitions=plan.groups.repetitions,
            strata=plan.strata,
            source=selection.source,
        )
        for region, columns in plan.columns.items()
    ]


def check_array(array: xr.DataArray, table: pd.DataFrame, selection: Selection) -> tuple[str, ...]:
    """The stimuli that `assemblies_from` would give, in its order; raises as it does, and reads coordinates alone."""
    return _plan(array, table, selection).groups.stimulus_ids


def _plan(array: xr.DataArray, table: pd.DataFrame, selection: Selection) -> _Plan:
    check_array_dimensions(array)
    groups = group_presentations(coordinates(array, PRESENTATION), selection.name)
    neuroids = coordinates(array, NEUROID)
    ids = neuroids.get(NEUROID_ID, neuroids.get(NEUROID, np.arange(array.sizes[NEUROID])))
    return _Plan(
        groups=groups,
        columns={region: _region_columns(neuroids, region, selection.name) for region in selection.regions},
        neuroid_ids=as_texts(ids),
        strata=_strata(groups.stimulus_ids, table, selection),
        bins=_window(array, selection),
    )


def _fill(array: xr.DataArray, plan: _Plan) -> dict[str, NDArray[np.floating]]:
    shape = (len(plan.groups.repetitions), len(plan.groups.stimulus_ids))
    dtype = np.float32 if array.dtype == np.float32 else np.float64
    responses = {region: np.full((*shape, len(columns)), np.nan, dtype) for region, columns in plan.columns.items()}
    for block in blocks(array, plan.bins):
        repetition = plan.groups.repetition[block.presentations, None]
        stimulus = plan.groups.stimulus[block.presentations, None]
        for region, columns in plan.columns.items():
            here = np.flatnonzero((columns >= block.neuroids.start) & (columns < block.neuroids.stop))
            responses[region][repetition, stimulus, here] = block.values[:, columns[here] - block.neuroids.start]
    return responses


def _strata(ids: tuple[str, ...], table: pd.DataFrame, selection: Selection) -> tuple[str, ...] | None:
    check_stimuli(ids, table, selection.name)
    if selection.strata is None:
        return None
    if selection.strata not in table.columns:
        known = ", ".join(map(str, table.columns))
        raise StudyError(
            f"assembly {selection.name}: the stimulus table has no column {selection.strata}; it has {known}"
        )
    strata = table.loc[list(ids), selection.strata]
    if strata.isna().any():
        raise StudyError(
            f"assembly {selection.name}: {int(strata.isna().sum()):,} stimuli have no {selection.strata} in the "
            "stimulus table; fill the column in, or choose another"
        )
    return tuple(strata.astype(str))


def _region_columns(neuroids: Mapping[str, NDArray[Any]], region: str, name: str) -> NDArray[np.intp]:
    if REGION not in neuroids:
        known = ", ".join(neuroids) or "none"
        raise StudyError(f"assembly {name}: neuroids have no {REGION}; coordinates: {known}")
    regions = as_texts(neuroids[REGION])
    found = np.flatnonzero(regions == region)
    if not len(found):
        raise StudyError(f"assembly {name}: no neuroid in region {region!r}; {known_names(region, set(regions))}")
    return found


def _window(array: xr.DataArray, selection: Selection) -> slice | None:
    """The time bins between the window's ends; None where the recordings have no time axis."""
    if TIME not in array.dims:
        return None
    bins, (start_ms, end_ms) = coordinates(array, TIME), selection.window_ms
    if "time_bin_start" not in bins or "time_bin_end" not in bins:
        raise StudyError(f"assembly {selection.name}: {TIME} has no time_bin_start and time_bin_end")
    starts, ends = bins["time_bin_start"], bins["time_bin_end"]
    inside = np.flatnonzero((starts >= start_ms) & (ends <= end_ms))
    if not len(inside) or (ends - starts)[inside].sum() != end_ms - start_ms:
        raise StudyError(
            f"assembly {selection.name}: time bins from {starts.min()} to {ends.max()} ms do not fill the window "
            f"{start_ms}–{end_ms} ms once; choose a window of whole bins"
        )
    if len(inside) != inside[-1] - inside[0] + 1:
        raise StudyError(f"assembly {selection.name}: time bins are not in order; sort them by time_bin_start")
    return slice(int(inside[0]), int(inside[-1]) + 1)
