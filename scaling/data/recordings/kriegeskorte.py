"""Kriegeskorte et al. (2008): 92 object images with RDMs of monkey IT, human IT and human similarity judgments.

Read from the MATLAB files that the rsatoolbox publishes; `scaling fetch kriegeskorte2008` downloads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.spatial.distance import squareform

from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

NAME = "kriegeskorte2008"
N_STIMULI, N_PAIRS, IMAGE_SHAPE = 92, 4186, (175, 175, 3)
N_SUBJECTS, N_SESSIONS, N_JUDGES = 4, 2, 16

STIMULI_FILE = "Kriegeskorte_Neuron2008_supplementalData.mat"
BRAIN_FILE = "92_brainRDMs.mat"
JUDGMENTS_FILE = "92_behavRDMs.mat"

Array = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Kriegeskorte:
    """The data set; RDMs are 1 − Pearson r (brains) or arrangement distances (judgments), symmetric, zero diagonal.

    Attributes:
        stimuli: 92 images 175×175, labels are positions in `categories`.
        categories: body parts and faces of humans and animals, natural and artificial inanimate objects.
        monkey_it: (1, 92, 92) single-unit RDM, 674 neurons of two monkeys, as published in the paper's figure 1.
        human_it: (4, 92, 92) fMRI RDM of each subject, mean over its 2 sessions.
        judgments: (16, 92, 92) similarity judgments of each person (Mur et al. 2013, Front. Psychol. 4:128).
    """

    stimuli: Stimuli
    categories: tuple[str, ...]
    monkey_it: Array
    human_it: Array
    judgments: Array


def load_kriegeskorte(data_dir: Path | None) -> Kriegeskorte:
    """Read the three files below `data_dir/kriegeskorte2008`.

    Raises:
        StudyError: no data directory; a file that is missing, truncated or of the wrong size, by name.
    """
    stimuli, categories, monkey_it = _read(data_dir, STIMULI_FILE, _parse_stimuli)
    return Kriegeskorte(
        stimuli=stimuli,
        categories=categories,
        monkey_it=monkey_it,
        human_it=_read(data_dir, BRAIN_FILE, _parse_brains),
        judgments=_read(data_dir, JUDGMENTS_FILE, _parse_judgments),
    )


def _read(data_dir: Path | None, name: str, parse: Callable[[dict[str, Any]], T]) -> T:
    remedy = f"run `scaling fetch {NAME}`, or give the data directory that holds {NAME}/{name}"
    if data_dir is None:
        raise StudyError(f"{NAME}: no data directory; {remedy}")
    path = Path(data_dir) / NAME / name
    if not path.is_file():
        raise StudyError(f"{NAME}: {path} does not exist; {remedy}")
    try:
        contents = loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy raises many kinds on damaged files
        raise StudyError(
            f"{NAME}: {path} ({path.stat().st_size:,} bytes) is not readable: {error}; {remedy}"
        ) from error
    try:
        return parse(contents)
    except KeyError as error:
        raise StudyError(f"{NAME}: {path} has no field {error}; {remedy}") from error
    except (ValueError, IndexError, TypeError) as error:
        raise StudyError(f"{NAME}: {path}: {error}; {remedy}") from error


def _parse_stimuli(contents: dict[str, Any]) -> tuple[Stimuli, tuple[str, ...], Array]:
    rows = contents["stimuli_92objs"]
    names = [str(name) for name in rows["category"]]
    categories = tuple(dict.fromkeys(names))
    stimuli = Stimuli(
        images=np.stack([_shaped(image, IMAGE_SHAPE, "image") for image in rows["image"]]),
        ids=tuple(f"{NAME}-{index:02d}" for index in range(len(names))),
        labels=np.array([categories.index(name) for name in names]),
        name=NAME,
    )
    if len(stimuli) != N_STIMULI:
        raise ValueError(f"{len(stimuli)} images, expected {N_STIMULI}")
    by_name = {str(row["name"]): row["RDM"] for row in contents["RDMs_mIT_hIT_fig1"]}
    pairs = _shaped(by_name["mIT_674neurons"], (N_PAIRS,), "monkey IT RDM")
    return stimuli, categories, _checked(squareform(pairs)[None])


def _parse_brains(contents: dict[str, Any]) -> Array:
    entries = contents["RDMs"]["RDM"]
    if entries.shape != (N_SUBJECTS, N_SESSIONS):
        raise ValueError(f"human IT RDMs of {entries.shape} subjects × sessions, expected {(N_SUBJECTS, N_SESSIONS)}")
    return _square_rdms(entries.ravel(), "human IT RDM").reshape(N_SUBJECTS, N_SESSIONS, N_STIMULI, N_STIMULI).mean(1)


def _parse_judgments(contents: dict[str, Any]) -> Array:
    entries = contents["rdms_behav_92"]["RDM"]
    if entries.shape != (N_JUDGES,):
        raise ValueError(f"judgments of {entries.shape} people, expected {(N_JUDGES,)}")
    return _square_rdms(entries, "judgment RDM")


def _square_rdms(entries: NDArray[Any], what: str) -> Array:
    return _checked(np.stack([_shaped(entry, (N_STIMULI, N_STIMULI), what) for entry in entries]).astype(np.float64))


def _shaped(values: Any, shape: tuple[int, ...], what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{what} of size {array.shape}, expected {shape}")
    return array


def _checked(rdms: Array) -> Array:
    """RDMs that are finite and symmetric with a zero diagonal; anything else is damage."""
    if not np.isfinite(rdms).all() or not np.allclose(rdms, rdms.swapaxes(-1, -2), atol=1e-6):
        raise ValueError("an RDM is not finite or not symmetric")
    if np.abs(np.diagonal(rdms, axis1=-2, axis2=-1)).max() > 1e-6:
        raise ValueError("an RDM has a diagonal that is not zero")
    return rdms
