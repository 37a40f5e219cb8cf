"""Which Parquet files are a data set's splits: by their names, or by the folder that they lie in."""

from __future__ import annotations

from collections.abc import Sequence

from scaling.data.formats.shards import by_split, no_split
from scaling.errors import StudyError
from scaling.storage import Storage

FOLDERS = ("", "data")  # where a split's files lie, or the folder of its name that holds them
SUFFIX = ".parquet"
Listed = dict[str, dict[str, str]]  # by folder, the stem of each Parquet file


def named_splits(
    root: Storage, files: dict[str, list[str]], names: Sequence[str], known: Sequence[str], field: str | None
) -> list[str]:
    """Those of some splits that are there. known: the splits to choose from; field: of the study file, that asked.

    Raises:
        StudyError: none is.
    """
    found = [name for name in names if name in files]
    if not found and field:
        raise no_split(field, names[0], known, root.shown)
    if not found:
        wanted = " or ".join(f"{name}*{SUFFIX}" for name in names)
        raise StudyError(
            f"no {wanted} in '{root.root}' beside the other split; correct dataset.path, add it, or name another by "
            f"dataset.train_split or dataset.heldout_split (there: {', '.join(known)})"
        )
    return found


def split_files(root: Storage, listed: Listed, split: str) -> list[str]:
    """A split's files: those of its name, and those in the folder of its name, which are one set.

    Raises:
        StudyError: they lie in several folders, or have several names in one.
    """
    places = {folder: by_split(stems, split).get(split, []) for folder, stems in listed.items()}
    for folder in FOLDERS:
        inside = by_split(_stems(root, below := f"{folder}/{split}".removeprefix("/")))
        if len(inside) > 1:
            raise StudyError(
                f"'{root.path(below)}' holds Parquet files of several names ({', '.join(map(repr, sorted(inside)))}); "
                "keep those of one split in the folder"
            )
        places[below] = next(iter(inside.values()), [])
    found = [folder for folder, files in places.items() if files]
    if len(found) > 1:
        raise StudyError(
            f"split '{split}' is in '{root.path(found[0])}' and in '{root.path(found[1])}', which may hold the same "
            "images; keep one, or set dataset.path to its folder"
        )
    return places[found[0]] if found else []


def known_splits(listed: Listed) -> list[str]:
    """The splits that files directly in the folders have in their names."""
    return sorted({split for stems in listed.values() for split in by_split(stems)})


def list_stems(root: Storage) -> Listed:
    """The Parquet files directly in FOLDERS."""
    return {folder: _stems(root, folder) for folder in FOLDERS}


def _stems(root: Storage, folder: str) -> dict[str, str]:
    """The stem of each Parquet file in a folder."""
    return {f"{folder}/{name}".removeprefix("/"): name.removesuffix(SUFFIX) for name in root.names(folder, SUFFIX)}


def file_stem(file: str) -> str:
    """A Parquet file's name without folders and suffix."""
    return file.rsplit("/", 1)[-1].removesuffix(SUFFIX)
