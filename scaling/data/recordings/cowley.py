"""Cowley et al. (2023): macaque V4 to natural photographs, sessions of spike counts averaged over repeats.

Read from the files that the authors publish (GitHub cowleygroup/V4_compact_models, data_V4_responses/): a zip of JPEGs
and an array of neurons × images a session, image NNNN (from 1) in column NNNN − 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.stimuli import StimulusFiles
from scaling.errors import StudyError

NAME = "cowley2023"
FOLDER = "cowley2023_v4"
ORIGINAL = "https://github.com/cowleygroup/V4_compact_models, data_V4_responses/"
RAW = "210325"  # the session whose single repeats are published
MOST_REPEATS = 10  # of an image in that session

Array = NDArray[np.float64]


class Session(NamedTuple):
    """One day's recording: the monkey, how often each image was shown (rounded where it varies), neurons, images."""

    monkey: str
    repeats: int
    n_neurons: int
    n_images: int


# Those of natural photographs, and that of grey objects on backgrounds with single repeats
SESSIONS: dict[str, Session] = {
    "190923": Session("WE", 14, 33, 1200),
    "201025": Session("PE", 12, 89, 1200),
    "210224": Session("PE", 9, 67, 800),
    "210225": Session("PE", 6, 55, 1200),
    "210621": Session("RA", 16, 51, 1200),
    RAW: Session("PE", 8, 50, 640),
}
NATURAL = tuple(name for name in SESSIONS if name != RAW)


class SessionRecording(NamedTuple):
    """A session's stimuli and responses: (n_images, n_neurons) mean counts, and single repeats where published.

    repeats: (n_repeats, n_images, n_neurons), NaN where there is none, or None.
    """

    name: str
    session: Session
    stimuli: StimulusFiles
    responses: Array
    repeats: Array | None


def read_session(name: str, data_dir: Path | None) -> SessionRecording:
    """One session below `data_dir/cowley2023_v4`.

    The images fill the model's view: their size on the screen is not published with them.

    Raises:
        StudyError: no data directory; a file that is missing, damaged or of another shape, by name.
    """
    session = SESSIONS[name]
    folder = _folder(data_dir)
    shape = (session.n_neurons, session.n_images)
    values = _array(folder / "responses_repeat_averaged" / f"responses_{name}.npy", shape)
    files = tuple(f"image{number:04d}.jpg" for number in range(1, session.n_images + 1))
    stimuli = StimulusFiles(
        source=folder / "images" / f"images_{name}.zip",
        filenames=files,
        ids=files,
        labels=None,
        name=f"{NAME} session {name}",
    )
    raw = None
    if name == RAW:
        single = folder / "responses_raw" / f"responses_{name}.npy"
        raw = _array(single, (*shape, MOST_REPEATS), missing=True).transpose(2, 1, 0)
    return SessionRecording(name, session, stimuli, values.T.copy(), raw)


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise StudyError(f"{NAME}: no data directory; {_remedy()}")
    return Path(data_dir) / FOLDER


def _remedy() -> str:
    return f"copy {ORIGINAL} to {FOLDER}/ below the data directory (folders images, responses_repeat_averaged)"


def _array(path: Path, shape: tuple[int, ...], missing: bool = False) -> Array:
    if not path.is_file():
        raise StudyError(f"{NAME}: {path} does not exist; {_remedy()}")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise StudyError(f"{NAME}: {path} is no whole array: {error}; {_remedy()}") from error
    if values.shape != shape or values.dtype.kind != "f":
        raise StudyError(f"{NAME}: {path} holds {values.dtype} of shape {values.shape}, expected {shape}; {_remedy()}")
    if not missing and not np.isfinite(values).all():
        raise StudyError(f"{NAME}: {path} holds values that are not finite; {_remedy()}")
    return np.asarray(values, dtype=np.float64)
