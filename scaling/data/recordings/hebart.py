"""Hebart et al. (2023): people's odd one of three objects, 453,642 triplets of the 1,854 images of THINGS.

A folder `data_dir/hebart2023` holds Brain-Score's assembly (assy_*Hebart2023*.nc: presentations with image_1, image_2
and image_3, ids of the stimulus table, of which people found image_3 odd) and table (stimulus_*Hebart2023*.csv). The
images are not public: each user's own, in a folder or zip `images` there, under the table's filenames.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.netcdf import PRESENTATION, coordinates, open_array
from scaling.data.recordings.presentations import FILENAME, as_texts, read_stimulus_table
from scaling.data.recordings.stimuli import StimulusFiles
from scaling.data.recordings.visual_angle import placement_ratio
from scaling.errors import StudyError, known_names

NAME = "hebart2023"
FILES = DataFolder(NAME, NAME, "Brain-Score (assy_Hebart2023.nc, stimulus_Hebart2023.csv; images: your own THINGS)")
DEGREES = 8.0
AGREEMENT = 0.6767  # of people with each other, as published
ROLES = ("image_1", "image_2", "image_3")  # coordinates of the presentations, the odd one last


class OddOnes(NamedTuple):
    """The images, and (n_triplets, 3) positions among them, the odd one last."""

    stimuli: StimulusFiles
    triplets: NDArray[np.intp]


def read_hebart(data_dir: Path | None, model_degrees: float) -> OddOnes:
    """Triplets and images, in the order of the stimulus table.

    Raises:
        StudyError: no data directory; a file that is missing, damaged or lacks an image of a triplet.
    """
    folder = FILES.path(data_dir, is_folder=True)
    table = read_stimulus_table(_one(folder, "stimulus_*Hebart2023*.csv"), FILES.remedy)
    source = next((path for path in (folder / "images", folder / "images.zip") if path.exists()), None)
    if source is None:
        raise StudyError(f"{NAME}: {folder} holds neither images/ nor images.zip; {FILES.remedy}")
    ids = tuple(table.index.astype(str))
    names = _names(folder)
    place = {name: i for i, name in enumerate(ids)}
    absent = sorted(set(names.ravel().tolist()) - set(place))
    if absent:
        raise StudyError(f"{NAME}: the table lacks {len(absent)} images of triplets, as {absent[0]!r}; {FILES.remedy}")
    stimuli = StimulusFiles(
        source, tuple(table[FILENAME].astype(str)), ids, None, f"{NAME} images", placement_ratio(DEGREES, model_degrees)
    )
    numbers, codes = np.unique(names, return_inverse=True)
    return OddOnes(stimuli, np.array([place[name] for name in numbers.tolist()])[codes.reshape(names.shape)])


def _names(folder: Path) -> NDArray[np.str_]:
    """(n_triplets, 3) ids of the images."""
    path = _one(folder, "assy_*Hebart2023*.nc")
    with open_array(path, FILES.remedy) as array:
        found = coordinates(array, PRESENTATION)
    for name in ROLES:
        if name not in found:
            raise StudyError(f"{NAME}: {path} has no {name}; {known_names(name, list(found))}; {FILES.remedy}")
    return np.stack([as_texts(_whole(found[name])) for name in ROLES], axis=1)


def _whole(values: NDArray) -> NDArray:
    """Numbers that a file holds as floats, as whole ones."""
    return values.astype(np.int64) if values.dtype.kind == "f" and (values == np.floor(values)).all() else values


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise StudyError(f"{NAME}: {folder} holds {len(found)} files {pattern}, expected 1; {FILES.remedy}")
    return found[0]
