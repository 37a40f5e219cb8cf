"""Runs that go on, by the files that they leave: the resume file's header holds the epochs until the run ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyarrow import fs

from scaling.errors import DamagedFile, MissingFile
from scaling.layout import CHECKPOINTS, resume_name
from scaling.records import EpochRecord
from scaling.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Collection

RECENT_S = (
    600.0  # a run whose files are older has stopped: saving may take 2 % of the time, and rarely 12 s; assumption
)
LARGEST_HEADER = 100_000_000  # bytes; safetensors' own limit


@dataclass(frozen=True)
class LiveRun:
    """A run that has begun and has no record yet.

    changed_at: Unix time of its newest file. epoch, step: whole epochs, and steps of the next, in its resume file;
    history: its whole epochs. All of them lag behind the training by the time since that file.
    """

    run_id: str
    changed_at: float
    epoch: int = 0
    step: int = 0
    history: tuple[EpochRecord, ...] = ()

    def is_recent(self, now: float) -> bool:
        return now - self.changed_at < RECENT_S


def live_runs(storage: Storage, open_ids: Collection[str]) -> dict[str, LiveRun]:
    """Those of the open runs that have begun; one listing, and the head of each resume file.

    Raises:
        StorageError: the place does not answer.
    """
    newest: dict[str, float] = {}
    for info in _files(storage):
        run_id = info.path.split("/")[-2]
        if run_id in open_ids and info.mtime is not None:
            newest[run_id] = max(newest.get(run_id, 0.0), info.mtime.timestamp())
    return {run_id: _live(storage, run_id, changed) for run_id, changed in newest.items()}


def _files(storage: Storage) -> list[fs.FileInfo]:
    below = fs.FileSelector(storage.path(CHECKPOINTS), allow_not_found=True, recursive=True)
    try:
        found = storage.filesystem.get_file_info(below)
    except OSError as error:
        raise storage.error("listed", CHECKPOINTS, error) from error
    return [info for info in found if info.type == fs.FileType.File]


def _live(storage: Storage, run_id: str, changed_at: float) -> LiveRun:
    from scaling.checkpoints.resume import RunProgress

    try:
        progress = RunProgress.from_header(_header(storage, resume_name(run_id)))
    except (MissingFile, DamagedFile):  # it has none yet, or just ended; a damaged one is the training's to set aside
        return LiveRun(run_id, changed_at)
    return LiveRun(run_id, changed_at, progress.epoch, progress.step, tuple(progress.history))


def _header(storage: Storage, name: str) -> dict[str, str]:
    """The text of a safetensors file: 8 bytes of length, little-endian, and JSON; its tensors are not read.

    Raises:
        MissingFile: there is none. DamagedFile: it is none.
    """
    with storage.open_file(name) as file:
        try:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            return dict(json.loads(file.read(length))["__metadata__"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFile(f"'{storage.path(name)}' is no safetensors file with a header ({error})") from error
        except OSError as error:
            raise storage.error("read", name, error) from error
