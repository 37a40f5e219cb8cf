"""How data sets lie on disk, one reader a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scaling.data.formats import cifar, folder, idx, npz, parquet, tfrecord
from scaling.data.formats.base import Split
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

SPLITS, COLUMNS = ("train_split", "heldout_split"), ("image_column", "label_column")


class Format(NamedTuple):
    """A reader, the files that it looks for, and what a study may choose by name in it."""

    find: Callable[[Storage, DatasetSpec], tuple[Split, Split] | None]
    expected: str
    choices: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {  # in the order in which a folder is asked what it holds
    "parquet": Format(parquet.find_parquet, parquet.EXPECTED, SPLITS + COLUMNS),
    "tfrecord": Format(tfrecord.find_tfrecord, tfrecord.EXPECTED, SPLITS),
    "npz": Format(npz.find_npz, npz.EXPECTED, SPLITS),
    "idx": Format(idx.find_idx, idx.EXPECTED),
    "cifar": Format(cifar.find_cifar, cifar.EXPECTED),
    "folder": Format(folder.find_folder, folder.EXPECTED, SPLITS),
}


def find_splits(spec: DatasetSpec, root: Storage) -> tuple[Split, Split]:
    """Training and held-out images of a data set that has a path.

    Raises:
        StudyError: none of the formats' files, or not those of the named one; files that are damaged; a choice that
            the format does not give.
    """
    for name in FORMATS if spec.format is None else (spec.format,):
        found = FORMATS[name].find(root, spec)
        if found is None:
            continue
        _check_fields(spec, name, found[0])
        return found
    wanted = [form.expected for name, form in FORMATS.items() if spec.format in (None, name)]
    if spec.format not in (None, "parquet") and not root.is_local:
        raise StudyError(
            f"'{root.shown}' is no local folder, which format={spec.format!r} needs (dataset '{spec.name}'); "
            "copy it to the nodes, or keep it as Parquet"
        )
    chosen = "".join(f", {field}='{value}'" for field, value in spec.choices().items())
    raise StudyError(
        f"no {' and no '.join(wanted)} in '{root.path()}' (dataset '{spec.name}'{chosen}), each beside its held-out "
        "images; correct dataset.path, name the data folder with --data-dir or SCALING_DATA_DIR, or name other splits "
        "by dataset.train_split and dataset.heldout_split"
    )


def _check_fields(spec: DatasetSpec, name: str, train: Split) -> None:
    """Refuse what the study file asks for and the format does not give."""
    if spec.decode == "each_epoch" and not train.coded:
        raise StudyError(
            f"decode='each_epoch' decodes coded images, and {name} holds plain pixels (dataset '{spec.name}'); "
            "leave decode out"
        )
    for field, value in spec.choices().items():
        if field not in FORMATS[name].choices:
            raise StudyError(
                f"dataset.{field}='{value}' says nothing to {name} files, where there is no choice (dataset "
                f"'{spec.name}'); leave it out, or correct dataset.path"
            )
