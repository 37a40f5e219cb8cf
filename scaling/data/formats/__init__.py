"""How data sets lie on disk, one reader a format."""

from __future__ import annotations

from collections.abc import Callable

from scaling.data.formats import cifar, folder, idx, npz, parquet, tfrecord
from scaling.data.formats.base import Split
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

Find = Callable[[Storage], tuple[Split, Split] | None]

# In the order in which a folder is asked what it holds; each with the files that it looks for.
FORMATS: dict[str, tuple[Find, str]] = {
    "parquet": (parquet.find_parquet, parquet.EXPECTED),
    "tfrecord": (tfrecord.find_tfrecord, tfrecord.EXPECTED),
    "npz": (npz.find_npz, npz.EXPECTED),
    "idx": (idx.find_idx, idx.EXPECTED),
    "cifar": (cifar.find_cifar, cifar.EXPECTED),
    "folder": (folder.find_folder, folder.EXPECTED),
}


def find_splits(spec: DatasetSpec, root: Storage) -> tuple[Split, Split]:
    """Training and held-out images of a data set that has a path.

    Raises:
        StudyError: none of the formats' files, or not those of the named one; files that are damaged.
    """
    for name in FORMATS if spec.format is None else (spec.format,):
        found = FORMATS[name][0](root)
        if found is None:
            continue
        if spec.decode == "each_epoch" and not found[0].coded:
            raise StudyError(
                f"decode='each_epoch' decodes coded images, and {name} holds plain pixels (dataset '{spec.name}'); "
                "leave decode out"
            )
        return found
    wanted = [expected for name, (_, expected) in FORMATS.items() if spec.format in (None, name)]
    if spec.format not in (None, "parquet") and not root.is_local:
        raise StudyError(
            f"'{root.shown}' is no local folder, which format={spec.format!r} needs (dataset '{spec.name}'); "
            "copy it to the nodes, or keep it as Parquet"
        )
    raise StudyError(
        f"no {' and no '.join(wanted)} in '{root.path()}' (dataset '{spec.name}'), each beside its held-out images; "
        "correct dataset.path, or name the data folder with --data-dir or SCALING_DATA_DIR"
    )
