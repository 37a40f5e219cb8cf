"""The binary version of CIFAR-10 and -100 (Krizhevsky 2009): records of 1 or 2 label bytes and 3 x 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import LabelledFiles, Rows, Split, check_labels, file_stamp, refuse_several
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

SIDE = 32
EXPECTED = "data_batch_1.bin, … or train.bin"
# folder below, label bytes (the last is the class), training files, held-out file, names of the classes
LAYOUTS = (
    (
        "cifar-10-batches-bin",
        1,
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
    ),
    ("cifar-100-binary", 2, ("train.bin",), "test.bin", "fine_label_names.txt"),
)
PICKLED = ("cifar-10-batches-py", "cifar-100-python")


def find_cifar(root: Storage, spec: DatasetSpec) -> tuple[Split, Split] | None:
    """The files in the folder or where the archive unpacks them; None: not there.

    Raises:
        StudyError: some of the files are missing; several sets are there; only the Python version is there.
    """
    if not root.is_local:
        return None
    base = Path(root.root)
    places = [(layout, below) for layout in LAYOUTS for below in ("", layout[0])]
    found = [(layout, base / below) for layout, below in places if (base / below / layout[2][0]).is_file()]
    refuse_several([str(folder / layout[2][0]) for layout, folder in found], root)
    for (_, label_bytes, train, heldout, names), folder in found:
        parts = [folder / file for file in train], [folder / heldout]
        return CifarSplit(parts[0], label_bytes, folder / names), CifarSplit(parts[1], label_bytes, folder / names)
    for name in PICKLED:
        if (base / name).is_dir() or (base.name == name and base.is_dir()):
            raise StudyError(
                f"'{root.root}' holds CIFAR's Python version ({name}), pickled files that could run code when read; "
                "fetch the binary version (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz)"
            )
    return None


def _names(file: Path) -> tuple[str, ...]:
    try:
        text = file.read_text() if file.is_file() else ""
    except UnicodeDecodeError as error:
        raise StudyError(f"'{file}' is no text of class names ({error}); fetch it again") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


class CifarSplit(LabelledFiles):
    """Files of records, mapped.

    Raises:
        StudyError: a file that is missing or does not hold whole records, a label beyond the names.
    """

    def __init__(self, files: list[Path], label_bytes: int, names: Path) -> None:
        self.files, self.label_bytes, self.classes, self.names = files, label_bytes, _names(names), names
        self.records = [_records(file, label_bytes) for file in files]
        labels = np.concatenate([records[:, label_bytes - 1] for records in self.records])
        self.labels = check_labels(labels, str(files[0]))
        if self.classes and self.labels.max() >= len(self.classes):
            raise StudyError(
                f"'{files[0]}' has label {self.labels.max()}, beyond the {len(self.classes)} class names beside it; "
                "fetch it again"
            )

    def fingerprint(self) -> list[Any]:
        return super().fingerprint() + ([file_stamp(self.names)] if self.names.is_file() else [])

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        places = [f"{file.name}, row {row}" for file, n in self._counts() for row in range(n)]
        every = np.concatenate([records[:, self.label_bytes :] for records in self.records])
        images = every.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        for begin in range(start, len(self), size):
            part = slice(begin, begin + size)
            yield Rows(images[part], self.labels[part], places[part])

    def _counts(self) -> list[tuple[Path, int]]:
        return [(file, len(records)) for file, records in zip(self.files, self.records, strict=True)]


def _records(file: Path, label_bytes: int) -> NDArray[np.uint8]:
    size = label_bytes + 3 * SIDE * SIDE
    if not file.is_file():
        raise StudyError(f"'{file}' is missing beside the other files; fetch them again")
    if file.stat().st_size % size or not file.stat().st_size:
        raise StudyError(
            f"'{file}' has {file.stat().st_size:,} bytes, no whole number of records of {size:,}; fetch it again"
        )
    return np.memmap(file, np.uint8, "r").reshape(-1, size)
