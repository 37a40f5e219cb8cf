"""The one pass over a data set: every image decoded, measured, and kept as pixels or as what it was decoded from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scaling.data.formats.base import Coded, Rows, Split, check_classes
from scaling.data.image_set import level_counts
from scaling.data.prepared.journal import BlockWriter
from scaling.data.prepared.pixels import CorruptImage, Square, decode_map, decode_square, size_of
from scaling.errors import StorageError, StudyError
from scaling.specs.dataset import DatasetSpec

BLOCK_ROWS = 256  # images that are lost by a kill at most; assumption
MANY_IMAGES = 10_000  # more take long enough to be announced where no bar is shown; assumption
# Files of a prepared split, by decode; the last two of each only where there are maps.
FILES = {
    "once": ("labels", "counts", "pixels", "maps", "map_rows"),
    "each_epoch": ("labels", "counts", "coded", "ends", "coded_maps", "map_ends"),
}


@dataclass(frozen=True)
class Job:
    """One split to prepare as the files `folder/stem.*`. source: what it is made of, see `BlockWriter`."""

    split: Split
    stem: str
    square: Square
    spec: DatasetSpec
    folder: Path
    source: Any

    @property
    def files(self) -> tuple[str, ...]:
        names = FILES[self.spec.decode]
        return names if self.split.has_maps else names[:-2]


@dataclass
class Decoded:
    """Images of one block that could be decoded, with what they came from."""

    rows: Rows
    kept: list[int] = field(default_factory=list)
    pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] = ()
    maps: list[Any] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def check_splits(spec: DatasetSpec, splits: tuple[Split, Split]) -> None:
    """Refuse, without decoding an image, splits whose classes differ or whose maps are asked for and absent.

    Raises:
        StudyError: as `check_classes`; blur_maps where no image can have a map.
    """
    check_classes(*splits, spec.name)
    if spec.blur_maps and not any(split.has_maps for split in splits):
        raise StudyError(
            f"blur_maps=true, and dataset '{spec.name}' has no importance maps; leave dataset.blur_maps out, or pick a "
            "dataset with maps"
        )


def map_dtype(spec: DatasetSpec, split: Split) -> np.dtype[Any]:
    """Of the maps that are kept; see `decode_map`."""
    return np.dtype(np.float32) if spec.blur_maps else split.map_dtype


def squares(spec: DatasetSpec, train: Split) -> tuple[Square, Square]:
    """What becomes of training and of held-out images.

    Training images are kept at `stored_size`; held-out ones are resized to it and cropped to `image_size`. Without
    either, all images have to be squares of the first one's size.
    """
    if spec.image_size is None:
        side = native_side(train)
        return Square(None, side, spec.blur_maps), Square(None, side, spec.blur_maps)
    stored = spec.stored_size or spec.image_size
    return Square(stored, stored, spec.blur_maps), Square(stored, spec.image_size, spec.blur_maps)


def native_side(split: Split) -> int:
    """The first image's side.

    Raises:
        StudyError: it is not square, or none can be read.
    """
    for rows in split.rows(0, 16):
        for coded, place in zip(rows.images, rows.places, strict=True):
            try:
                width, height = size_of(coded)
            except CorruptImage:
                continue
            if width != height:
                raise StudyError(f"image of {height} x {width} pixels ({place}); set dataset.image_size to resize all")
            return width
    raise StudyError(f"no image of {len(split):,} can be decoded; correct dataset.path, or fetch the files again")


def prepare_split(job: Job, console: Console) -> list[dict[str, Any]]:
    """Decode a split into its files, going on after the last whole block; the blocks.

    Raises:
        StudyError: damaged files, an image that cannot be decoded (corrupt='stop'). StorageError: no room on the disk.
    """
    n_images = len(job.split)
    with BlockWriter(job.folder, job.stem, job.files, job.source) as writer:
        done = sum(block["rows"] for block in writer.blocks)
        _check_room(job, n_images - done)
        if n_images - done > MANY_IMAGES and not console.is_terminal:
            console.print(f"decoding {n_images - done:,} images of dataset '{job.spec.name}' ({job.stem}), once")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task(f"{job.spec.name}, {job.stem}", total=n_images, completed=done)
            for decoded in _decoded(job, done):
                if decoded.skipped and job.spec.corrupt == "stop":
                    raise StudyError(
                        f"image cannot be decoded ({decoded.skipped[0]}); fetch the file again, or set dataset.corrupt "
                        "to 'skip'"
                    )
                _write(job, decoded, writer)
                progress.advance(bar, len(decoded.rows))
        writer.finish()
        return writer.blocks


def _check_room(job: Job, n_images: int) -> None:
    need = n_images * 3 * job.square.crop**2 if job.spec.decode == "once" else 0
    free = shutil.disk_usage(job.folder).free
    if need > free:
        raise StorageError(
            f"dataset '{job.spec.name}' needs {need / 1e9:,.1f} GB decoded, and '{job.folder.parent}' has "
            f"{free / 1e9:,.1f} GB free; give another --cache-dir or SCALING_CACHE_DIR, a smaller stored_size, or "
            "decode: each_epoch"
        )


def _decoded(job: Job, start: int) -> Iterator[Decoded]:
    """Blocks in order; one is decoded while the one before is written."""
    with ThreadPoolExecutor(n_threads()) as pool:
        before: tuple[Rows, list[Future[Any]]] | None = None
        try:
            for rows in job.split.rows(start, BLOCK_ROWS):
                if _is_plain(rows, job.square):
                    maps = list(rows.maps or [])
                    yield Decoded(rows, list(range(len(rows))), np.ascontiguousarray(rows.images), maps)
                    continue
                futures = [pool.submit(_decode_row, job, rows, row) for row in range(len(rows))]
                if before is not None:
                    yield _gather(*before)
                before = rows, futures
            if before is not None:
                yield _gather(*before)
        finally:
            pool.shutdown(cancel_futures=True)


def _is_plain(rows: Rows, square: Square) -> bool:
    """Whether images are arrays, and nothing changes them or their maps."""
    images = rows.images
    return (
        not (square.blur_maps and rows.maps)
        and isinstance(images, np.ndarray)
        and images.shape[1:3] == (square.crop,) * 2
        and square.side in (None, square.crop)
    )


def _decode_row(job: Job, rows: Rows, row: int) -> tuple[NDArray[np.uint8], NDArray[Any] | None] | CorruptImage:
    place, image = rows.places[row], rows.images[row]
    one = rows.maps[row] if rows.maps is not None else None
    try:
        pixels = decode_square(image, job.square, place)
        if one is None:
            return pixels, None
        return pixels, decode_map(one, job.square, size_of(image), place, job.split.map_dtype)
    except CorruptImage as error:
        return error


def _gather(rows: Rows, futures: list[Future[Any]]) -> Decoded:
    decoded, pixels = Decoded(rows), []
    for row, future in enumerate(futures):
        result = future.result()
        if isinstance(result, CorruptImage):
            decoded.skipped.append(f"{rows.places[row]}: {result}")
            continue
        decoded.kept.append(row)
        pixels.append(result[0])
        decoded.maps.append(result[1])
    decoded.pixels = pixels
    return decoded


def _write(job: Job, decoded: Decoded, writer: BlockWriter) -> None:
    kept = decoded.kept
    shape = (len(kept), job.square.crop, job.square.crop, 3)
    pixels = np.stack(list(decoded.pixels)) if kept else np.empty(shape, np.uint8)
    parts: dict[str, Any] = {"labels": decoded.rows.labels[kept], "counts": level_counts(pixels)}
    if job.spec.decode == "once":
        parts["pixels"] = pixels
        there = np.array([one is not None for one in decoded.maps], bool)
        dtype = map_dtype(job.spec, job.split)
        first = writer.n_bytes.get("maps", 0) // (dtype.itemsize * job.square.crop**2)
        parts["map_rows"] = np.where(there, first + np.cumsum(there) - 1, -1).astype(np.int64)
        maps = [one for one in decoded.maps if one is not None]
        parts["maps"] = np.stack(maps).astype(dtype) if maps else b""
    else:
        coded = [_as_bytes(decoded.rows.images[row], job.split.folder) for row in kept]
        maps_coded = [_as_bytes(decoded.rows.maps[row], None) if decoded.rows.maps else b"" for row in kept]
        parts |= {"coded": b"".join(coded), "ends": _ends(coded, writer, "coded")}
        parts |= {"coded_maps": b"".join(maps_coded), "map_ends": _ends(maps_coded, writer, "coded_maps")}
    writer.append(parts, rows=len(decoded.rows), skipped=decoded.skipped)


def _as_bytes(coded: Coded, folder: Path | None) -> bytes:
    """An image's own bytes, or its path below the split's folder."""
    if isinstance(coded, Path):
        return os.fsencode(coded.relative_to(folder or coded.anchor))
    return coded if isinstance(coded, bytes) else b""


def _ends(coded: Sequence[bytes], writer: BlockWriter, name: str) -> NDArray[np.int64]:
    """Where each image ends in the flat file."""
    return writer.n_bytes.get(name, 0) + np.cumsum([len(one) for one in coded], dtype=np.int64)


def n_threads() -> int:
    """Threads that decode: one a CPU that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
