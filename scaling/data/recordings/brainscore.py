"""The recordings that Brain-Score publishes: MajajHong2015, FreemanZiemba2013 and Rajalingham2018, public halves.

Read from the files as published (NetCDF assembly, CSV and zip of stimuli), which `scaling fetch NAME` downloads to
`data_dir/NAME`; nothing of Brain-Score is needed. The private halves are not published for download.

What the files hold was read from Brain-Score's code and documentation, not from the files themselves, which were out
of reach when this was written. Assumptions: the order of the coordinates in the NetCDF file is that in which
Brain-Score's loader finds them (the order of stimuli, and so the splits, follow it; ids come first in the documented
example); a stimulus's `filename` is a member of the zip, perhaps below a folder; a presentation of Rajalingham2018 is a
trial, its value the name of the chosen object, with the coordinates `sample_obj` and `dist_obj`. The first can be
checked by the published scores of an assembly that predicts itself; a file that breaks the others is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scaling.data.recordings.assemblies import Recording, assemblies_from, check_array
from scaling.data.recordings.catalogue import FREEMANZIEMBA, MAJAJHONG, PUBLISHED, RAJALINGHAM
from scaling.data.recordings.netcdf import open_array
from scaling.data.recordings.presentations import FILENAME, check_stimuli, read_stimulus_table
from scaling.data.recordings.stimuli import StimulusFiles
from scaling.data.recordings.trials import TrialColumns, trials_from
from scaling.data.recordings.visual_angle import MODEL_DEGREES, placement_ratio
from scaling.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = [
    "FREEMANZIEMBA",
    "MAJAJHONG",
    "PUBLISHED",
    "RAJALINGHAM",
    "check_published",
    "read_freemanziemba",
    "read_majajhong",
    "read_neural",
    "read_rajalingham",
]


def read_majajhong(data_dir: Path | None, model_degrees: float = MODEL_DEGREES) -> Recording:
    """V4 and IT responses to 3,200 images of objects on backgrounds (hvm), 8 degrees wide; as `read_neural`."""
    return read_neural(MAJAJHONG, data_dir, model_degrees)


def read_freemanziemba(data_dir: Path | None, model_degrees: float = MODEL_DEGREES) -> Recording:
    """V1 and V2 responses to 135 textures and their spectral noise, 4 degrees wide; as `read_neural`."""
    return read_neural(FREEMANZIEMBA, data_dir, model_degrees)


def read_neural(name: str, data_dir: Path | None, model_degrees: float = MODEL_DEGREES) -> Recording:
    """Stimuli and assemblies of a data set with regions.

    Args:
        name: key of PUBLISHED. data_dir: holds the folder `name`. model_degrees: visual angle of a model's input.

    Returns:
        Stimuli labelled by their stratum, placed on the model's screen, in the order of the assemblies.

    Raises:
        StudyError: no data directory; a file that is missing, damaged or does not fit the others; see
            `assemblies_from`.
    """
    published = PUBLISHED[name]
    with _open(name, data_dir) as (array, table, folder):
        assemblies = assemblies_from(array, table, published.selection)
    first = assemblies[0]
    labels = None if first.strata is None else np.unique(first.strata, return_inverse=True)[1]
    return Recording(_stimuli(name, folder, (first.stimulus_ids, labels), table, model_degrees), assemblies)


def read_rajalingham(data_dir: Path | None, model_degrees: float = MODEL_DEGREES) -> tuple[StimulusFiles, TrialColumns]:
    """People's choices about 2,160 images of 24 objects (objectome), 8 degrees wide.

    Returns:
        Stimuli labelled by their object (classes ascending), in ascending order of their ids; the trials.

    Raises:
        StudyError: as `read_neural`, and `trials_from`.
    """
    with _open(RAJALINGHAM, data_dir) as (array, table, folder):
        trials = trials_from(array, RAJALINGHAM, PUBLISHED[RAJALINGHAM].selection.source)
    check_stimuli(trials.stimulus_ids, table, RAJALINGHAM)
    labels = np.unique(trials.objects(), return_inverse=True)[1]
    return _stimuli(RAJALINGHAM, folder, (trials.stimulus_ids, labels), table, model_degrees), trials


def check_published(name: str, data_dir: Path | None) -> None:
    """Refuse files that are missing, truncated or do not fit each other, without reading the responses.

    Raises:
        StudyError: as the reader of that data set.
    """
    if name == RAJALINGHAM:
        read_rajalingham(data_dir)
        return
    with _open(name, data_dir) as (array, table, folder):
        ids = check_array(array, table, PUBLISHED[name].selection)
    _stimuli(name, folder, (ids, None), table, MODEL_DEGREES)


@contextmanager
def _open(name: str, data_dir: Path | None) -> Iterator[tuple[xr.DataArray, pd.DataFrame, Path]]:
    published, remedy = PUBLISHED[name], f"run `scaling fetch {name}`, or give the data directory that holds {name}/"
    if data_dir is None:
        raise StudyError(f"{name}: no data directory; {remedy}")
    folder = Path(data_dir) / name
    table = read_stimulus_table(folder / published.table.name, remedy)
    if not (folder / published.archive.name).is_file():
        raise StudyError(f"{folder / published.archive.name} does not exist; {remedy}")
    with open_array(folder / published.assembly.name, remedy) as array:
        yield array, table, folder


def _stimuli(
    name: str,
    folder: Path,
    order: tuple[tuple[str, ...], np.ndarray | None],
    table: pd.DataFrame,
    model_degrees: float,
) -> StimulusFiles:
    ids, labels = order
    published = PUBLISHED[name]
    return StimulusFiles(
        source=folder / published.archive.name,
        filenames=tuple(table.loc[list(ids), FILENAME]),
        ids=ids,
        labels=None if labels is None else labels.astype(np.int64),
        name=name,
        ratio=placement_ratio(published.degrees, model_degrees),
    )
