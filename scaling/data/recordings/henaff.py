"""Hénaff et al. (2021): macaque V1 to frames of natural movies, and to synthetic frames between their first and last.

Responses: GitHub wongyoJung/Primary-visual-cortex-straightens-natural-video-trajectories, V1_responses/ (HDF5);
stimuli: GitHub olivierhenaff/neural-straightening, images/acute/stimulus_fullfield (grey PNG).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.stimuli import StimulusFiles

NAME = "henaff2021"
FILES = DataFolder(
    NAME, "henaff2021_v1", "GitHub wongyoJung/Primary-visual-cortex-straightens-natural-video-trajectories (responses) "
    "and olivierhenaff/neural-straightening (stimuli)",
)  # fmt: skip
N_MOVIES, N_FRAMES, ZOOMS = 10, 11, (1, 2)
NATURAL, SYNTHETIC = 0, 1  # positions of the categories; of contrast frames, the third, the order is not checked
# Populations by monkey: the units of one penetration
POPULATIONS: dict[str, tuple[str, ...]] = {
    "ay2": ("u003", "u007"),
    "ay3": ("u001", "u002"),
    "ay4": ("u001", "u005", "u006"),
    "ay5": ("u002", "u005"),
}


class Population(NamedTuple):
    """Spike counts (n_repetitions, n_frames, n_units) of one population, NaN where a repetition is missing."""

    monkey: str
    name: str
    counts: NDArray[np.float32]


class Frames(NamedTuple):
    """The frames, the movie of each, and all populations' responses to them."""

    stimuli: StimulusFiles
    movies: NDArray[np.int64]
    populations: list[Population]


def read_henaff(data_dir: Path | None) -> Frames:
    """400 frames: of 10 movies at 2 zooms, 11 natural ones and the 9 synthetic ones that are not natural too.

    Raises:
        StudyError: no data directory; a file that is missing, damaged or of another shape, by name.
    """
    places = [
        (zoom, category, movie, frame)
        for zoom in range(len(ZOOMS))
        for movie in range(N_MOVIES)
        for category in (NATURAL, SYNTHETIC)
        for frame in range(N_FRAMES)
        if category == NATURAL or 0 < frame < N_FRAMES - 1
    ]
    names = tuple(_file(*place) for place in places)
    source = FILES.path(data_dir, "stimuli_256", is_folder=True)
    populations = [
        Population(monkey, f"{monkey}_{name}", _counts(data_dir, f"{monkey}_{name}", places))
        for monkey, own in POPULATIONS.items()
        for name in own
    ]
    stimuli = StimulusFiles(source, names, names, None, f"{NAME} frames")
    return Frames(stimuli, np.array([movie for _, _, movie, _ in places]), populations)


def _file(zoom: int, category: int, movie: int, frame: int) -> str:
    kind = ("natural", "synthetic")[category]
    return f"stimSelected-zoom{ZOOMS[zoom]}x/movie{movie + 1}/{kind}{frame + 1:02d}.png"


def _counts(data_dir: Path | None, population: str, places: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
    """The file's scale × category × movie × frame × unit × repetition, transposed on disk."""
    path = FILES.path(data_dir, "responses", f"{population}_image_sequences.mat")
    with FILES.hdf5(path) as file:
        values = np.transpose(file["naturalStruct/sortedResponses"][()])
    values = FILES.shaped(path, values, (len(ZOOMS), None, N_MOVIES, N_FRAMES, None, None))
    chosen = values[tuple(np.array(places).T)]  # frames × units × repetitions
    return chosen.transpose(2, 0, 1).astype(np.float32)
