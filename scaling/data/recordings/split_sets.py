"""Recordings with a fixed split that Brain-Score publishes: TVSD, THINGS-fMRI, NSD and THINGS-EEG2.

A folder `data_dir/NAME` holds two assemblies as Brain-Score writes them (NetCDF4, one variable of presentation ×
neuroid [× time_bin]; presentations have stimulus_id and repetition, neuroids subject, neuroid_id, mostly region, and
what units are chosen by) and the stimuli of each side: assy_*train*.nc, assy_*test*.nc, stimulus_*train*.csv,
stimulus_*test*.csv. The images are not public (THINGS, NSD): each user's own, in a folder or zip `images` there, under
the tables' filenames.

Numbers of units, filters, windows, penalties: brain-score/vision, benchmarks of 2025 and 2026. Assumption: the names of
the files hold 'train' and 'test', as their identifiers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.assemblies import NEUROID_ID, REGION
from scaling.data.recordings.netcdf import NEUROID, PRESENTATION, TIME, blocks, coordinates, open_array
from scaling.data.recordings.presentations import (
    FILENAME,
    as_texts,
    check_stimuli,
    group_presentations,
    read_stimulus_table,
)
from scaling.data.recordings.stimuli import StimulusFiles
from scaling.data.recordings.visual_angle import placement_ratio
from scaling.errors import StudyError, known_names

if TYPE_CHECKING:  # imported by those alone who read recordings
    import xarray as xr

SUBJECT = "subject"


@dataclass(frozen=True)
class SplitSet:
    """One data set and how Brain-Score reads it.

    Attributes:
        regions: one benchmark each. unlabelled: the region of all units where neuroids name none.
        kept_by, above: the neuroid coordinate that units are chosen by, and what it has to exceed.
        window_ms: of time bins, each of which makes a unit of every channel; None: there is no time, or one bin.
        degrees: visual angle of a stimulus. metric: of METRICS. source: for people.
    """

    name: str
    regions: tuple[str, ...]
    degrees: float
    metric: str
    source: str
    kept_by: str | None = None
    above: float = 0.0
    unlabelled: str | None = None
    window_ms: tuple[float, float] | None = None


SETS: dict[str, SplitSet] = {
    one.name: one
    for one in (
        SplitSet("papale2025", ("V1", "V4", "IT"), 18.0, "ridgecv_split",
                 "Papale et al. (2025), Neuron: THINGS ventral stream spiking dataset", "reliability", 0.3),
        SplitSet("hebart2023_fmri", ("V1", "V2", "V4", "IT"), 10.0, "ridgecv_split",
                 "Hebart et al. (2023), eLife 12:e82580", "nc_testset", 30.0),
        SplitSet("allen2022_fmri", ("V1", "V2", "V4", "IT"), 8.4, "ridge_split",
                 "Allen et al. (2022), Nat. Neurosci. 25:116", "nc_testset", 30.0),
        SplitSet("gifford2022", ("IT",), 7.0, "ridgecv_split_eeg",
                 "Gifford et al. (2022), NeuroImage 264:119754", unlabelled="IT", window_ms=(0.0, 600.0)),
    )
}  # fmt: skip


class SplitRecording(NamedTuple):
    """One subject's units of one region.

    train: (n_train, n_units) means. test: (n_repetitions, n_test, n_units), NaN where a repetition is missing.
    """

    subject: str
    region: str
    train: NDArray[np.float64]
    test: NDArray[np.float64]


class SplitStimuli(NamedTuple):
    """All stimuli, those of training first, and how many these are."""

    stimuli: StimulusFiles
    n_train: int


def read_split_set(name: str, data_dir: Path | None, model_degrees: float) -> tuple[SplitStimuli, list[SplitRecording]]:
    """Stimuli and recordings of every region and subject.

    Raises:
        StudyError: no data directory; a file that is missing, damaged or does not fit the others; a stimulus on both
            sides, a region or subject without units.
    """
    of = SETS[name]
    folder, remedy = _folder(of, data_dir)
    sides = [_side(of, folder, side, remedy) for side in ("train", "test")]
    (train_ids, train_files, train), (test_ids, test_files, test) = sides
    shared = sorted(set(train_ids) & set(test_ids))
    if shared:
        raise StudyError(f"{name}: {len(shared)} stimuli are on both sides of the split, first {shared[0]!r}; {remedy}")
    stimuli = StimulusFiles(
        _images(folder, remedy), (*train_files, *test_files), (*train_ids, *test_ids), None, f"{name} images",
        placement_ratio(of.degrees, model_degrees),
    )  # fmt: skip
    return SplitStimuli(stimuli, len(train_ids)), _paired(of, train, test, remedy)


class _Units(NamedTuple):
    """(n_repetitions, n_stimuli, n_units) and what the units are of, in the order of the file."""

    values: NDArray[np.float64]
    ids: NDArray[np.str_]
    subject: NDArray[np.str_]
    region: NDArray[np.str_]


def _folder(of: SplitSet, data_dir: Path | None) -> tuple[Path, str]:
    remedy = (
        f"copy Brain-Score's files of {of.name} (assy_*train*.nc, assy_*test*.nc, stimulus_*train*.csv, "
        f"stimulus_*test*.csv) and your own images (folder or zip 'images') to {of.name}/ below the data directory"
    )
    if data_dir is None:
        raise StudyError(f"{of.name}: no data directory; {remedy}")
    folder = Path(data_dir) / of.name
    if not folder.is_dir():
        raise StudyError(f"{of.name}: {folder} does not exist; {remedy}")
    return folder, remedy


def _only(folder: Path, pattern: str, remedy: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise StudyError(f"{folder} holds {len(found)} files {pattern}, expected 1; {remedy}")
    return found[0]


def _images(folder: Path, remedy: str) -> Path:
    for path in (folder / "images", folder / "images.zip"):
        if path.exists():
            return path
    raise StudyError(f"{folder} holds neither images/ nor images.zip; {remedy}")


def _side(of: SplitSet, folder: Path, side: str, remedy: str) -> tuple[tuple[str, ...], tuple[str, ...], _Units]:
    """Stimulus ids, their files, and the units of one side."""
    table = read_stimulus_table(_only(folder, f"stimulus_*{side}*.csv", remedy), remedy)
    path = _only(folder, f"assy_*{side}*.nc", remedy)
    with open_array(path, remedy) as array:
        ids, units = _read(of, array, f"{of.name} {side}")
    check_stimuli(ids, table, of.name)
    return ids, tuple(table.loc[list(ids), FILENAME].astype(str)), units


def _read(of: SplitSet, array: xr.DataArray, name: str) -> tuple[tuple[str, ...], _Units]:
    groups = group_presentations(coordinates(array, PRESENTATION), name)
    neuroids = coordinates(array, NEUROID)
    for coordinate in (SUBJECT, of.kept_by, None if of.unlabelled else REGION):
        if coordinate is not None and coordinate not in neuroids:
            raise StudyError(f"{name}: neuroids have no {coordinate}; {known_names(coordinate, list(neuroids))}")
    n = array.sizes[NEUROID]
    kept = np.arange(n) if of.kept_by is None else np.flatnonzero(neuroids[of.kept_by].astype(float) > of.above)
    bins = _bins(of, array, name)
    shape = (len(groups.repetitions), len(groups.stimulus_ids), len(kept), len(bins))
    values = np.full(shape, np.nan)
    for position, one in enumerate(bins):
        for block in blocks(array, one):
            here = np.flatnonzero((kept >= block.neuroids.start) & (kept < block.neuroids.stop))
            rows = groups.repetition[block.presentations, None], groups.stimulus[block.presentations, None]
            values[*rows, here, position] = block.values[:, kept[here] - block.neuroids.start]
    texts = {c: np.repeat(as_texts(neuroids[c])[kept], len(bins)) for c in (SUBJECT, REGION) if c in neuroids}
    ids = np.repeat(as_texts(neuroids.get(NEUROID_ID, np.arange(n)))[kept], len(bins))
    region = np.full(len(ids), of.unlabelled) if of.unlabelled else texts[REGION]
    return groups.stimulus_ids, _Units(values.reshape(*shape[:2], -1), ids, texts[SUBJECT], region.astype(str))


def _bins(of: SplitSet, array: xr.DataArray, name: str) -> list[slice | None]:
    """Each time bin that makes units of its own; without a window, the only one, or no time at all."""
    if TIME not in array.dims:
        return [None]
    if of.window_ms is None:
        if array.sizes[TIME] != 1:
            raise StudyError(f"{name}: {array.sizes[TIME]} time bins, expected 1; fetch the file again")
        return [slice(0, 1)]
    starts = np.asarray(coordinates(array, TIME)["time_bin_start"], dtype=float)
    in_ms = starts * (1000.0 if np.abs(starts).max() < 10.0 else 1.0)  # the file has seconds
    low, high = of.window_ms
    inside = np.flatnonzero((in_ms >= low - 1e-6) & (in_ms < high - 1e-6))
    if not len(inside):
        raise StudyError(f"{name}: no time bin starts in {low:g}–{high:g} ms; fetch the file again")
    return [slice(int(i), int(i) + 1) for i in inside]


def _paired(of: SplitSet, train: _Units, test: _Units, remedy: str) -> list[SplitRecording]:
    """The units of both sides, subject by subject, regions in the set's order."""
    alike = [np.array_equal(a, b) for a, b in ((train.ids, test.ids), (train.subject, test.subject))]
    if not all(alike):
        raise StudyError(f"{of.name}: the two sides hold other units ({len(train.ids)} and {len(test.ids)}); {remedy}")
    with np.errstate(invalid="ignore"):
        mean = np.nanmean(train.values, axis=0)
    found = []
    for region in of.regions:
        subjects = sorted(set(test.subject[test.region == region].tolist()))
        if not subjects:
            raise StudyError(
                f"{of.name}: no unit of {region} with {of.kept_by} above {of.above:g}; "
                f"{known_names(region, sorted(set(test.region.tolist())))}"
            )
        for subject in subjects:
            own = (test.region == region) & (test.subject == subject)
            found.append(SplitRecording(subject, region, mean[:, own], test.values[..., own]))
    return found
