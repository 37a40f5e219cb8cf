"""Geirhos et al. (2021): people's choices on 17 sets of distorted, drawn and stylised images.

GitHub bethgelab/model-vs-human: `raw-data/SET/*subject*.csv` of the repository (85,120 trials), and the images of its
release, `datasets/SET/`. An image is told by its name without the trial's parts: a person's
`0002_cl_s01_cr_bear_40_n02134084_5274.png` is `0002_cl_dnn_cr_bear_40_n02134084_5274.png` on disk, under condition cr.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.geirhos import Experiment
from scaling.data.recordings.people import last_part, read_choices, without_trial
from scaling.errors import StudyError

NAME = "geirhos2021"
FILES = DataFolder(NAME, NAME, "GitHub bethgelab/model-vs-human (raw-data of the repository, datasets of its release)")
DEGREES = 3.0  # of the images on people's screens
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
# set → conditions that are not scored: people's ceiling or chance (brain-score/vision, Geirhos2021)
SETS: dict[str, tuple[str, ...]] = {
    "colour": ("cr",),
    "contrast": ("c100", "c03", "c01"),
    "cue-conflict": (),
    "edge": (),
    "eidolonI": ("1-10-10", "64-10-10", "128-10-10"),
    "eidolonII": ("1-3-10", "32-3-10", "64-3-10", "128-3-10"),
    "eidolonIII": ("1-0-10", "16-0-10", "32-0-10", "64-0-10", "128-0-10"),
    "false-colour": ("true",),
    "high-pass": ("inf", "0.55", "0.45", "0.4"),
    "low-pass": ("0", "15", "40"),
    "phase-scrambling": ("0", "150", "180"),
    "power-equalisation": ("0",),
    "rotation": ("0",),
    "silhouette": (),
    "sketch": (),
    "stylized": (),
    "uniform-noise": ("0.00", "0.60", "0.90"),
}
BY_LAST_PART = {"cue-conflict", "edge", "silhouette"}  # whose images have names of their own: 'airplane4.png'


def read_set(name: str, data_dir: Path | None) -> Experiment:
    """One set, without the conditions that are not scored.

    Raises:
        StudyError: no data directory; files that are missing or do not fit each other; no condition that is scored.
    """
    people, source = (FILES.path(data_dir, part, name, is_folder=True) for part in ("raw-data", "datasets"))
    key = last_part if name in BY_LAST_PART else without_trial
    choices = read_choices(people, lambda image: key(Path(image).stem), FILES.remedy, "*subject*.csv")
    kept = np.flatnonzero(~np.isin(choices.condition, SETS[name]))
    if not len(kept):
        raise StudyError(f"{NAME}: {people} has no condition that is scored; {FILES.remedy}")
    choices = choices.of_images(kept)
    files = {key(path.stem): path for path in sorted(source.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES}
    absent = [image for image in choices.images if image not in files]
    if absent:
        raise StudyError(
            f"{NAME}: {len(absent):,} of {len(choices.images):,} images of {people} are not in {source}, first "
            f"{absent[0]}; {FILES.remedy}"
        )
    names = tuple(files[image].relative_to(source).as_posix() for image in choices.images)
    return Experiment(source, names, choices, DEGREES)
