"""Presentations of stimuli: the table of a stimulus set, and presentations by stimulus and repetition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

STIMULUS_ID, LEGACY_STIMULUS_ID, FILENAME = "stimulus_id", "image_id", "filename"
REPETITION = "repetition"

# Cells of stimuli × repetitions a presentation, in large files; beyond it `repetition` numbers something else, and the
# responses would hardly fit into memory. MajajHong2015 has 1.1.
_MAX_SPARSITY, _MANY_CELLS = 8, 2**20
_MAX_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Groups:
    """Presentations by stimulus and repetition.

    Attributes:
        stimulus_ids, repetitions: labels, in order. stimulus, repetition: (n_presentations,) positions among them.
    """

    stimulus_ids: tuple[str, ...]
    repetitions: tuple[int | str, ...]
    stimulus: NDArray[np.intp]
    repetition: NDArray[np.intp]


def read_stimulus_table(path: Path, remedy: str) -> pd.DataFrame:
    """A stimulus set's CSV, indexed by stimulus_id (or the older image_id), with the column filename.

    Raises:
        StudyError: a file that is missing or no such table, an id that comes twice.
    """
    import pandas as pd

    if not Path(path).is_file():
        raise StudyError(f"{path} does not exist; {remedy}")
    text = dict.fromkeys((STIMULUS_ID, LEGACY_STIMULUS_ID, FILENAME), str)
    try:
        table = pd.read_csv(path, dtype=text)
    except (ValueError, OSError, pd.errors.ParserError) as error:  # an empty file and wrong text are ValueErrors
        raise StudyError(f"{path} is no table of stimuli: {error}; {remedy}") from error
    id_column = STIMULUS_ID if STIMULUS_ID in table.columns else LEGACY_STIMULUS_ID
    for column in (id_column, FILENAME):
        if column not in table.columns:
            name = STIMULUS_ID if column == LEGACY_STIMULUS_ID else column
            raise StudyError(f"{path} has no column {name}; columns: {', '.join(map(str, table.columns))}; {remedy}")
        if table[column].isna().any():
            raise StudyError(f"{path}: {int(table[column].isna().sum())} rows without a {column}; {remedy}")
    repeated = table[id_column][table[id_column].duplicated()]
    if len(repeated):
        raise StudyError(f"{path}: {id_column} {repeated.iloc[0]!r} comes twice; {remedy}")
    return table.set_index(id_column, drop=False)


def stimulus_ids(presentations: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.str_]:
    """The stimulus of each presentation: stimulus_id, or the older image_id."""
    for coordinate in (STIMULUS_ID, LEGACY_STIMULUS_ID):
        if coordinate in presentations:
            return as_texts(presentations[coordinate])
    known = ", ".join(presentations) or "none"
    raise StudyError(f"assembly {name}: presentations have no {STIMULUS_ID}; coordinates: {known}")


def check_stimuli(ids: tuple[str, ...], table: pd.DataFrame, name: str) -> None:
    """Refuse stimuli that the table does not list."""
    absent = [i for i in ids if i not in table.index]
    if absent:
        shown = ", ".join(repr(i) for i in absent[:_MAX_SHOWN])
        raise StudyError(
            f"assembly {name}: {len(absent):,} of {len(ids):,} stimuli are not in the stimulus table ({shown}, …); "
            "the assembly and the stimulus set belong to different data: fetch both again"
        )


def group_presentations(presentations: Mapping[str, NDArray[Any]], name: str) -> Groups:
    """Presentations by stimulus and repetition.

    Stimuli are sorted by the presentation coordinates in the order of the file, `repetition` left out: the order in
    which Brain-Score's grouping for the mean over repetitions leaves them. Coordinates that differ between
    presentations of a stimulus take no part. Repetitions are sorted by their labels.

    Args:
        presentations: coordinate → (n_presentations,) values, in the order of the file. name: for messages.

    Raises:
        StudyError: no stimulus ids, no presentations, two of a stimulus that are the same repetition.
    """
    ids = stimulus_ids(presentations, name)
    unique, first, stimulus = np.unique(ids, return_index=True, return_inverse=True)
    if not len(unique):
        raise StudyError(f"assembly {name}: no presentations")
    order = _sorted_stimuli(presentations, first, stimulus)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    labels, repetition = _repetitions(presentations, stimulus)
    _check_cells(stimulus, repetition, (unique, labels), name)
    return Groups(
        stimulus_ids=tuple(map(str, unique[order])),
        repetitions=tuple(labels.tolist()),
        stimulus=place[stimulus],
        repetition=repetition,
    )


def _sorted_stimuli(
    presentations: Mapping[str, NDArray[Any]], first: NDArray[np.intp], stimulus: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Stimuli sorted by their coordinates; `first` is a presentation of each, in the order of their ids."""
    import pandas as pd

    keys: list[NDArray[np.intp]] = []
    for coordinate, values in presentations.items():
        codes = pd.factorize(values, sort=True, use_na_sentinel=False)[0]
        if coordinate != REPETITION and np.array_equal(codes[first][stimulus], codes):
            keys.append(codes[first])
    return np.lexsort([np.arange(len(first)), *reversed(keys)])


def _repetitions(
    presentations: Mapping[str, NDArray[Any]], stimulus: NDArray[np.intp]
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Labels of the repetitions, ascending, and each presentation's; counted in the order of the file if unlabelled."""
    if REPETITION in presentations:
        labels, repetition = np.unique(presentations[REPETITION], return_inverse=True)
        return labels, np.asarray(repetition, dtype=np.intp)
    import pandas as pd

    counted = np.asarray(pd.Series(stimulus).groupby(stimulus).cumcount(), dtype=np.intp)
    return np.arange(counted.max() + 1), counted


def _check_cells(
    stimulus: NDArray[np.intp], repetition: NDArray[np.intp], labels: tuple[NDArray[Any], NDArray[Any]], name: str
) -> None:
    n_cells = len(labels[0]) * len(labels[1])
    if n_cells > max(_MAX_SPARSITY * len(stimulus), _MANY_CELLS):
        raise StudyError(
            f"assembly {name}: {len(labels[1]):,} repetitions of {len(labels[0]):,} stimuli, but only "
            f"{len(stimulus):,} presentations; number the repetitions of each stimulus from 0"
        )
    cells, counts = np.unique(stimulus * len(labels[1]) + repetition, return_counts=True)
    if counts.max() > 1:
        cell = divmod(int(cells[counts.argmax()]), len(labels[1]))
        raise StudyError(
            f"assembly {name}: {counts.max()} presentations of stimulus {str(labels[0][cell[0]])!r} are all repetition "
            f"{labels[1][cell[1]]}; number the repetitions of each stimulus from 0"
        )


def as_texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """Ids and names as text, whatever type the file gave them."""
    return np.array([str(value) for value in values], dtype=np.str_)
