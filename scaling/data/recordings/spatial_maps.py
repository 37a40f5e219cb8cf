"""Spatially resolved recordings: maps of responses over positions of an image, as one file and its images.

The file is NetCDF4 (.nc) or NumPy (.npz, nothing pickled) with these names; the images are a folder or a zip:

- `maps` (stimulus, row, column, neuroid): the rate for the part of the image inside the receptive field; rows from the
  top, columns from the left of the image, as many of the one as of the other.
- `filename`, `stimulus_id` (stimulus), `neuroid_id` (neuroid), and the attributes, as in
  `scaling.data.recordings.recording`; the attribute `region` (default IT) holds for all neuroids.

As a benchmark, 'file:PATH', it is scored by `scaling.alignment.metrics.spatial`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from scaling.data.recordings.plain import read_plain, write_plain
from scaling.data.recordings.presentations import as_texts
from scaling.data.recordings.recording import MAPS, MAPS_REGION, as_numbers, plain_stimuli
from scaling.data.recordings.stimuli import StimulusFiles
from scaling.data.recordings.visual_angle import MODEL_DEGREES
from scaling.errors import StudyError

DIMENSIONS: dict[str, tuple[str, ...]] = {
    MAPS: ("stimulus", "row", "column", "neuroid"),
    "filename": ("stimulus",),
    "stimulus_id": ("stimulus",),
    "neuroid_id": ("neuroid",),
}
REQUIRED = (MAPS, "filename", "name", "degrees")

_IMAGE_RF, _IMAGE_NAMES = "imageRF", "UniqueNames"


@dataclass(frozen=True, eq=False)
class SpatialMaps:
    """Maps of one region's neuroids over the positions of each stimulus.

    Attributes:
        name: of the set. region: visual area. source: for people.
        maps: (n_stimuli, G, G, n_neuroids) float64, finite, rows from the top. neuroid_ids: one a neuroid.

    Raises:
        StudyError: at construction, maps that are not square or not finite.
    """

    name: str
    region: str
    maps: NDArray[np.float64]
    neuroid_ids: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        shape = self.maps.shape
        if len(shape) != 4 or 0 in shape or shape[1] != shape[2] or shape[3] != len(self.neuroid_ids):
            raise StudyError(
                f"maps {self.name}: shape {shape} with {len(self.neuroid_ids)} neuroid ids; give stimuli × rows × "
                "columns × neuroids, as many rows as columns, none empty, an id a neuroid"
            )
        bad = int(np.count_nonzero(~np.isfinite(self.maps)))
        if bad:
            raise StudyError(f"maps {self.name}: {bad:,} of {self.maps.size:,} values are not finite; leave those out")


@dataclass(frozen=True, eq=False)
class PlainMaps:
    """Maps to write; see the module's text for the fields."""

    name: str
    maps: ArrayLike
    filenames: Sequence[str]
    region: str
    degrees: float
    images: str = "."
    source: str = ""


def write_maps_file(path: Path | str, plain: PlainMaps) -> None:
    """Write maps to .nc or .npz; `scaling.data.recordings.write_maps` also checks them as a benchmark.

    Raises:
        StudyError: maps or degrees that are no numbers; as `write_plain`.
    """
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        MAPS: (DIMENSIONS[MAPS], as_numbers(MAPS, plain.maps)),
        "filename": (DIMENSIONS["filename"], as_texts(np.asarray(plain.filenames))),
    }
    attributes: dict[str, str | float] = {
        "name": plain.name,
        "region": plain.region,
        "degrees": float(as_numbers("degrees", plain.degrees)),
        "images": str(plain.images),
        "source": plain.source,
    }
    write_plain(Path(path), variables, attributes)


def read_maps(path: Path | str, model_degrees: float = MODEL_DEGREES) -> tuple[StimulusFiles, SpatialMaps]:
    """Stimuli, and the maps over them in their order.

    Raises:
        StudyError: as `read_recording`, and `SpatialMaps`.
    """
    path = Path(path)
    plain = read_plain(path, DIMENSIONS, REQUIRED)
    values = plain.variables[MAPS]
    neuroid_ids = plain.variables.get("neuroid_id", np.arange(values.shape[3]))
    maps = SpatialMaps(
        name=str(plain.attributes["name"]),
        region=str(plain.attributes.get("region", MAPS_REGION)),
        maps=values.astype(np.float64),
        neuroid_ids=tuple(as_texts(neuroid_ids).tolist()),
        source=str(plain.attributes.get("source", "")),
    )
    return plain_stimuli(path, plain, model_degrees), maps


def read_image_rf(
    path: Path | str, window_ms: tuple[int, int], channels: slice
) -> tuple[NDArray[np.float64], list[str]]:
    """Maps and image names of a published MATLAB file of IT arrays (Arcaro et al. 2020).

    Its `imageRF` is (x, y, ms, channel, image), its `UniqueNames` the images' Windows paths. As in the authors' code
    both spatial axes are reversed, so that the map stands like the image. Assumption, from that code and not from the
    file: a bin is one millisecond, the first at 0.

    Args:
        window_ms: average over start ≤ t < end; the authors use 100–150 for one monkey (channels 0–32 posterior,
            33 and up central IT) and 150–300 for the other. channels: the array to take.

    Returns:
        (n_images, G, G, n_channels), for `PlainMaps.maps`; the file names of the images.

    Raises:
        StudyError: a file that is missing, damaged or lacks a field, a window or channels that it does not hold.

    Source: serre-lab/neural_harmonizer, data/dataset.py.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(f"{path} does not exist; give the .mat file of the recordings")
    try:
        contents = loadmat(path, variable_names=[_IMAGE_RF, _IMAGE_NAMES], squeeze_me=True, chars_as_strings=True)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, EOFError, MatReadError) as error:
        raise StudyError(f"{path} ({path.stat().st_size:,} bytes) is no readable MATLAB file: {error}") from error
    absent = [name for name in (_IMAGE_RF, _IMAGE_NAMES) if name not in contents]
    if absent:
        raise StudyError(f"{path} has no {', '.join(absent)}; give the .mat file of the recordings")
    maps = maps_of_image_rf(contents[_IMAGE_RF], window_ms)[..., channels]
    if not maps.size:
        raise StudyError(f"{path}: channels {channels.start} to {channels.stop} of {contents[_IMAGE_RF].shape[3]}")
    return maps, [str(name).split("\\")[-1] for name in np.atleast_1d(contents[_IMAGE_NAMES])]


def maps_of_image_rf(image_rf: ArrayLike, window_ms: tuple[int, int]) -> NDArray[np.float64]:
    """(x, y, ms, channel, image) rates → (image, G, G, channel) means over the window; see `read_image_rf`."""
    values = np.asarray(image_rf)
    start, end = window_ms
    if values.ndim != 5 or not 0 <= start < end <= values.shape[2]:
        raise StudyError(
            f"imageRF of shape {values.shape}, window {start}–{end} ms; give (x, y, ms, channel, image) and a window "
            "in it"
        )
    means = values[::-1, ::-1, start:end].mean(axis=2, dtype=np.float64)
    return np.ascontiguousarray(np.moveaxis(means, -1, 0))
