"""Choices of people among named categories (Geirhos et al. 2019, 2021): one CSV a person and experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError

if TYPE_CHECKING:  # imported by those alone who read recordings
    import pandas as pd

COLUMNS = ("subj", "object_response", "category", "condition", "imagename")
NO_RESPONSE, NOT_SHOWN = "na", ""


class Choices(NamedTuple):
    """One choice a person of each image.

    Attributes:
        people, images: names, sorted. chosen: (n_people, n_images) category, NO_RESPONSE where none was given in time,
            NOT_SHOWN where the image was not shown.
        category, condition: (n_images,) of each image; the condition as text.
    """

    people: tuple[str, ...]
    images: tuple[str, ...]
    chosen: NDArray[np.str_]
    category: NDArray[np.str_]
    condition: NDArray[np.str_]

    def of_images(self, index: NDArray[np.intp]) -> Choices:
        """Of some of the images."""
        images = tuple(self.images[i] for i in index)
        return Choices(self.people, images, self.chosen[:, index], self.category[index], self.condition[index])


def last_part(imagename: str) -> str:
    """The file name: the last part, as of edges, silhouettes and cue conflicts."""
    return imagename.rpartition("_")[2]


def without_trial(imagename: str) -> str:
    """Without the first three parts, the trial's: number, experiment and observer."""
    return imagename.split("_", 3)[-1]


def read_choices(folder: Path, image_of: Callable[[str], str], remedy: str, files: str = "*.csv") -> Choices:
    """The CSVs of a folder.

    Args:
        image_of: imagename → what people share. remedy: ends every refusal. files: those of people, by name.

    Raises:
        StudyError: no files, a column that is missing, a person who saw an image twice, an image of two categories.
    """
    import pandas as pd

    paths = sorted(folder.glob(files))
    if not paths:
        raise StudyError(f"{folder} holds no CSV of people's choices ({files}); {remedy}")
    table = pd.concat([_read(path, remedy) for path in paths], ignore_index=True)
    table["image"] = table["imagename"].map(image_of)
    repeated = table.duplicated(["subj", "image"])
    if repeated.any():
        row = table[repeated].iloc[0]
        raise StudyError(f"{folder}: {row['subj']} saw {row['image']} twice; {remedy}")
    facts = table.drop_duplicates(["image", "category", "condition"]).set_index("image").sort_index()
    if facts.index.has_duplicates:
        raise StudyError(f"{folder}: {facts.index[facts.index.duplicated()][0]} has two categories; {remedy}")
    wide = table.pivot(index="subj", columns="image", values="object_response").fillna(NOT_SHOWN).sort_index()
    return Choices(
        people=tuple(wide.index),
        images=tuple(wide.columns),
        chosen=wide.to_numpy().astype(str),
        category=facts["category"].reindex(wide.columns).to_numpy().astype(str),
        condition=facts["condition"].reindex(wide.columns).to_numpy().astype(str),
    )


def _read(path: Path, remedy: str) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise StudyError(f"{path} is no table of choices: {error}; {remedy}") from error
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        raise StudyError(f"{path} has no column {absent[0]}; columns: {', '.join(map(str, table.columns))}; {remedy}")
    return table[list(COLUMNS)]
