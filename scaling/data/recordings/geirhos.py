"""Geirhos et al. (2019): edges, filled silhouettes and texture–shape cue conflicts, and ten people's choices on each.

GitHub rgeirhos/texture-vs-shape: stimuli (CC BY 4.0) and raw-data. The cue conflicts may be PNG, as published, or JPEG.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.people import Choices, last_part, read_choices
from scaling.errors import StudyError

NAME = "geirhos2019"
FILES = DataFolder(NAME, "geirhos2019_shape_texture", "GitHub rgeirhos/texture-vs-shape (stimuli, raw-data)")
# experiment → folder of its stimuli, of its people
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "edges": ("edges", "edge-experiment"),
    "silhouettes": ("filled-silhouettes", "silhouette-filled-experiment"),
    "cue-conflict": (
        "cue-conflict",
        "style-transfer-512-nomask-experiment",
    ),  # told neither to look at shape nor texture
}


class Experiment(NamedTuple):
    """Images below a folder, in the order of the choices. degrees: their visual angle, where it is to count."""

    source: Path
    filenames: tuple[str, ...]
    choices: Choices
    degrees: float | None = None


def read_experiment(name: str, data_dir: Path | None) -> Experiment:
    """One experiment.

    Raises:
        StudyError: files that are missing or do not fit each other.
    """
    stimuli, people = EXPERIMENTS[name]
    source = FILES.path(data_dir, "stimuli", stimuli, is_folder=True)
    choices = read_choices(FILES.path(data_dir, "human", people, is_folder=True), last_part, FILES.remedy)
    files = {path.stem: path.relative_to(source).as_posix() for path in source.glob("*/*")}
    absent = [image for image in choices.images if Path(image).stem not in files]
    if absent:
        raise StudyError(f"{NAME}: {len(absent)} images of {people} are not in {source}, {absent[0]}; {FILES.remedy}")
    return Experiment(source, tuple(files[Path(image).stem] for image in choices.images), choices)


def texture_of(image: str) -> str:
    """The category of the texture of a cue conflict: 'cat7-elephant3.png' has the shape of a cat."""
    return Path(image).stem.rpartition("-")[2].rstrip("0123456789")
