"""The images that a study began with: it goes on with the same ones, or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scaling.errors import DamagedFile, StudyError
from scaling.layout import DATASET_FILE
from scaling.storage import Storage

if TYPE_CHECKING:
    from scaling.data.image_set import ImageData


def check_same_images(storage: Storage, data: ImageData) -> None:
    """Refuse to mix runs on different images under one name: the first run's images are remembered.

    Raises:
        StudyError: the decoded data are not those that the study began with.
    """
    mark = data.mark()
    before = _first_images(storage)
    if before is None:
        storage.write_bytes(DATASET_FILE, json.dumps(mark, indent=2).encode())
    elif before != mark:
        raise StudyError(
            f"dataset '{data.name}' now holds {len(data.train):,} + {len(data.heldout):,} images, not the "
            f"{before['n_train']:,} + {before['n_heldout']:,} that this study began with "
            f"({storage.path(DATASET_FILE)}); restore them, or give the study a new name"
        )


def _first_images(storage: Storage) -> dict[str, Any] | None:
    """What the first run's images were; None before it.

    Raises:
        DamagedFile: whether the images are the same cannot be told any more.
    """
    if not storage.exists(DATASET_FILE):
        return None
    try:
        mark = json.loads(storage.read_bytes(DATASET_FILE))
    except ValueError:
        mark = None
    if not isinstance(mark, dict) or not {"dataset", "n_train", "n_heldout", "sha256"} <= set(mark):
        raise DamagedFile(
            f"'{storage.path(DATASET_FILE)}' is damaged, so that nothing tells whether the images are "
            "those that this study began with; if they are, delete the file, else give the study a new name"
        )
    return mark
