"""Peterson et al. (2019): about 51 people's labels for each of CIFAR-10's 10,000 test images.

GitHub jcpeterson/cifar-10h, data/cifar10h-counts.npy (CC BY-NC-SA 4.0), rows in the original order of the test set;
the labels in that order, and which image of the data set `cifar10` each row is, stand beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.archives import decode_image
from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.stimuli import Stimuli, choose_balanced
from scaling.errors import StudyError

NAME = "cifar10h"
FILES = DataFolder(NAME, "cifar10h", "GitHub jcpeterson/cifar-10h, data/")
IMAGES = DataFolder(NAME, "cifar10", "the Parquet files of the data set cifar10")
N_IMAGES, N_CLASSES = 10_000, 10
SHOWN = 2_000  # images, as many of each class, that bound a score's cost; assumption
SHOWN_SEED = 2019


class HumanLabels(NamedTuple):
    """Images, their true classes as the data set `cifar10` numbers them, and counts of people's labels."""

    stimuli: Stimuli
    counts: NDArray[np.float64]


class _Rows(NamedTuple):
    path: NDArray[np.str_]
    coded: list[bytes]
    label: NDArray[np.int64]


def read_cifar10h(data_dir: Path | None, n_shown: int = SHOWN) -> HumanLabels:
    """A balanced part of the test images, in the order of `cifar10/test.parquet`, whose labels their classes have.

    Raises:
        StudyError: files that are missing, damaged or do not fit each other.
    """
    counts = FILES.array(FILES.path(data_dir, "cifar10h-counts.npy"), (N_IMAGES, N_CLASSES))
    rows = _rows(data_dir)
    order = _order(data_dir, rows)
    columns = _columns(data_dir, rows, order)
    chosen = choose_balanced(rows.label, n_shown, SHOWN_SEED)
    images = np.stack([decode_image(rows.coded[i], str(rows.path[i])) for i in chosen])
    stimuli = Stimuli(images, tuple(rows.path[chosen].tolist()), rows.label[chosen], f"{NAME} images")
    return HumanLabels(stimuli, counts[order[chosen]][:, columns].astype(np.float64))


def _rows(data_dir: Path | None) -> _Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = IMAGES.path(data_dir, "test.parquet")
    try:
        table = pq.read_table(path, columns=["img", "label"])
        images = table["img"].to_pylist()
        names = np.array([image["path"] for image in images])
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise StudyError(f"{NAME}: {path} is not what is published: {error}; {IMAGES.remedy}") from error
    return _Rows(names, [image["bytes"] for image in images], np.array(table["label"].to_pylist(), dtype=np.int64))


def _order(data_dir: Path | None, rows: _Rows) -> NDArray[np.intp]:
    """Row of the counts of each row of the Parquet file."""
    path = FILES.path(data_dir, "original_test_index_to_parquet_path.json")
    try:
        listed = json.loads(path.read_text())
        original = {str(name): i for i, name in enumerate(listed)}
    except (ValueError, UnicodeDecodeError) as error:
        raise StudyError(f"{NAME}: {path} is no list of images: {error}; {FILES.remedy}") from error
    absent = [name for name in rows.path.tolist() if name not in original]
    if absent or len(original) != N_IMAGES or len(rows.path) != N_IMAGES:
        raise StudyError(
            f"{NAME}: {path} lists {len(original):,} images, and cifar10/test.parquet has {len(rows.path):,}, of which "
            f"{len(absent):,} are not listed; it is of another test set: {IMAGES.remedy}"
        )
    return np.array([original[name] for name in rows.path.tolist()])


def _columns(data_dir: Path | None, rows: _Rows, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Column of the counts of each class of the Parquet file, told by the true labels in both orders."""
    path = FILES.path(data_dir, "cifar10_test_labels_original_order.npy")
    labels = FILES.array(path, (N_IMAGES,))[order]
    pairs = np.unique(np.stack([rows.label, labels]), axis=1)
    if pairs.shape != (2, N_CLASSES) or len(np.unique(pairs[1])) != N_CLASSES:
        raise StudyError(
            f"{NAME}: labels of cifar10/test.parquet and of {path} pair {pairs.shape[1]} ways, expected {N_CLASSES}; "
            f"the order is another one: {FILES.remedy}"
        )
    return pairs[1].astype(np.intp)


def check_heldout(heldout: Stimuli, data_dir: Path | None) -> None:
    """Refuse a study whose held-out images are not CIFAR-10's test images, or whose classes have other labels.

    Raises:
        StudyError: names the data set.
    """
    known: dict[bytes, int] = {}
    if heldout.images.shape[1:] == (32, 32, 3) and heldout.labels is not None:
        rows = _rows(data_dir)
        decoded = (decode_image(coded, str(name)) for coded, name in zip(rows.coded, rows.path, strict=True))
        known = {image.tobytes(): int(label) for image, label in zip(decoded, rows.label, strict=True)}
    labels = [] if heldout.labels is None else heldout.labels.tolist()
    there = [known.get(image.tobytes()) for image in heldout.images]
    other = sum(found not in (None, own) for found, own in zip(there, labels, strict=False))
    wrong = sum(found is None for found in there), other
    if any(wrong):
        raise StudyError(
            f"benchmark {NAME}: {wrong[0]} of {len(heldout)} held-out images of {heldout.name!r} are not CIFAR-10's "
            f"test images, and {wrong[1]} have another label there; people labelled those alone: drop the benchmark, "
            "or train on cifar10 at its own 32 pixels"
        )
