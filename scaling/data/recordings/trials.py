"""Trials of a match-to-sample task: which of two objects a person chose after a glimpse of a stimulus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.netcdf import PRESENTATION, coordinates
from scaling.data.recordings.presentations import as_texts, stimulus_ids
from scaling.errors import StudyError

if TYPE_CHECKING:
    import xarray as xr

SAMPLE, DISTRACTOR, CHOICE, TRUTH = "sample_obj", "dist_obj", "choice", "truth"

Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class TrialColumns:
    """Choices between two objects, column by column, in the order of the file (random halves depend on it).

    Attributes:
        name: of the set. source: for people. stimulus_ids: all stimuli, ascending.
        stimulus_id, sample, distractor, choice: (n_trials,) what was shown, the object in it, what was offered beside
            that, and which of the two was chosen.
    """

    name: str
    stimulus_ids: tuple[str, ...]
    stimulus_id: Names
    sample: Names
    distractor: Names
    choice: Names
    source: str = ""

    def __len__(self) -> int:
        return len(self.stimulus_id)

    def objects(self) -> tuple[str, ...]:
        """The object in each of `stimulus_ids`."""
        return tuple(self.sample[np.unique(self.stimulus_id, return_index=True)[1]].tolist())


def trials_from(array: xr.DataArray, name: str, source: str) -> TrialColumns:
    """Trials of an array over presentations whose values, or whose coordinate `choice`, name the chosen object.

    Args:
        array: (presentation,) with the coordinates stimulus_id (or image_id), sample_obj and dist_obj.

    Raises:
        StudyError: other dimensions, a coordinate that is not there, a choice that is neither sample nor distractor,
            a coordinate `truth` that is not the sample, a stimulus of two objects.
    """
    if array.dims != (PRESENTATION,) or not array.size:
        raise StudyError(f"trials {name}: dimensions {dict(array.sizes)}; needs {PRESENTATION} alone, not empty")
    presentations = coordinates(array, PRESENTATION)
    absent = {SAMPLE, DISTRACTOR} - set(presentations)
    if absent:
        known = ", ".join(presentations) or "none"
        raise StudyError(f"trials {name}: presentations have no {', '.join(sorted(absent))}; coordinates: {known}")
    ids = stimulus_ids(presentations, name)
    trials = TrialColumns(
        name=name,
        stimulus_ids=tuple(np.unique(ids).tolist()),
        stimulus_id=ids,
        sample=as_texts(presentations[SAMPLE]),
        distractor=as_texts(presentations[DISTRACTOR]),
        choice=as_texts(_choices(array, presentations, name)),
        source=source,
    )
    _check(trials, as_texts(presentations[TRUTH]) if TRUTH in presentations else trials.sample)
    return trials


def _choices(array: xr.DataArray, presentations: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """The published array's values are the choices; where they are numbers, a coordinate has to name them."""
    if array.dtype.kind in "OSU":
        return coordinates(array.assign_coords({CHOICE: (PRESENTATION, array.values)}), PRESENTATION)[CHOICE]
    if CHOICE in presentations:
        return presentations[CHOICE]
    raise StudyError(f"trials {name}: {array.dtype} values and no coordinate {CHOICE}; needs the chosen object's name")


def _check(trials: TrialColumns, truth: Names) -> None:
    objects = np.array(trials.objects())[np.searchsorted(trials.stimulus_ids, trials.stimulus_id)]
    problems = {
        "choices are neither sample nor distractor": (trials.choice != trials.sample)
        & (trials.choice != trials.distractor),
        f"trials have a {TRUTH} that is not the sample": truth != trials.sample,
        "trials show another object than the first with the same stimulus": objects != trials.sample,
    }
    for problem, wrong in problems.items():
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise StudyError(
                f"trials {trials.name}: {int(wrong.sum()):,} of {len(trials):,} {problem}; the first is trial {at}: "
                f"stimulus {trials.stimulus_id[at]!s}, sample {trials.sample[at]!s}, distractor "
                f"{trials.distractor[at]!s}, choice {trials.choice[at]!s}"
            )
