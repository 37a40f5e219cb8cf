"""Parquet in the Hugging Face layout, one file or many shards a split, on a local disk or any pyarrow file system."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import Rows, Split, check_labels
from scaling.errors import StudyError
from scaling.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

TRAIN_PREFIXES = ("train",)
HELDOUT_PREFIXES = ("test", "validation", "val")
MAP_COLUMN = "heatmap"  # ClickMe's
EXPECTED = "train*.parquet"


def find_parquet(root: Storage) -> tuple[Split, Split] | None:
    """`train*.parquet` and `test*.parquet` (or validation, val), in the folder or its `data`; None: neither is there.

    Raises:
        StudyError: only one of the two is there. StorageError: a place that cannot be read.
    """
    train, heldout = (_shards(root, prefixes) for prefixes in (TRAIN_PREFIXES, HELDOUT_PREFIXES))
    if not train and not heldout:
        return None
    for shards, prefixes in ((train, TRAIN_PREFIXES), (heldout, HELDOUT_PREFIXES)):
        if not shards:
            wanted = " or ".join(f"{prefix}*.parquet" for prefix in prefixes)
            raise StudyError(f"no {wanted} in '{root.root}' beside the other split; correct dataset.path, or add it")
    return ParquetSplit(root, train), ParquetSplit(root, heldout)


def _shards(root: Storage, prefixes: tuple[str, ...]) -> list[str]:
    for folder in ("", "data"):
        names = root.names(folder, ".parquet")
        for prefix in prefixes:
            files = [f"{folder}/{name}".removeprefix("/") for name in names if name.startswith(prefix)]
            if files:
                return files
    return []


class Columns(NamedTuple):
    """Names of the columns of images, labels and importance maps, and of the classes by label."""

    image: str
    label: str
    map: str | None
    classes: tuple[str, ...]


class ParquetSplit(Split):
    """The shards of one split, in order of their names.

    Columns: one of images, struct<bytes, path> or binary; `heatmap`, of the same kind, null where an image has no map;
    labels, the ClassLabel or only integer column.

    Raises:
        StudyError: a file that is no whole Parquet file, columns that are not these, shards that differ in them.
    """

    coded = True

    def __init__(self, root: Storage, names: list[str]) -> None:
        self.root, self.names = root, names
        self.metadata = [self._metadata(name) for name in names]
        columns = []
        for name, meta in zip(names, self.metadata, strict=True):
            found = find_columns(meta.schema.to_arrow_schema(), root.path(name))
            columns.append(found)
            if found != columns[0]:
                raise StudyError(
                    f"'{root.path(name)}' has the columns {found[:3]} and {len(found.classes)} class names, "
                    f"'{names[0]}' {columns[0][:3]} and {len(columns[0].classes)}; give all shards the same"
                )
        self.columns = columns[0]
        self.classes, self.has_maps = self.columns.classes, self.columns.map is not None

    def __len__(self) -> int:
        return sum(meta.num_rows for meta in self.metadata)

    def present(self) -> NDArray[np.int64]:
        return np.unique(self.labels)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """All labels; images are not touched."""
        found = []
        for name in self.names:
            with self._opened(name) as file:
                table = file.read([self.columns.label])
            found.append(self._labels(table.column(0), name))
        return np.concatenate(found)

    def fingerprint(self) -> list[Any]:
        infos = self.root.file_infos(self.names)
        return [[name, info.size, info.mtime_ns] for name, info in zip(self.names, infos, strict=True)]

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        """Row groups before `start` are not read."""
        done = 0  # rows of all shards before this place
        kept: list[Rows] = []
        for name, meta in zip(self.names, self.metadata, strict=True):
            groups, skipped = list(range(meta.num_row_groups)), 0
            while groups and done + skipped + meta.row_group(groups[0]).num_rows <= start:
                skipped += meta.row_group(groups.pop(0)).num_rows
            for part in self._shard(name, groups, skipped, size) if groups else ():
                first = done + part.first
                whole = part.rows if first >= start else _cut(part.rows, start - first, len(part.rows))
                if not len(whole):
                    continue
                kept.append(whole)
                while sum(map(len, kept)) >= size:
                    block, kept = _take(kept, size)
                    yield block
            done += meta.num_rows
        if kept:
            yield _join(kept)

    class _Part(NamedTuple):
        first: int  # row in its shard
        rows: Rows

    def _shard(self, name: str, groups: list[int], first: int, size: int) -> Iterator[_Part]:
        wanted = [column for column in self.columns[:3] if column is not None]
        with self._opened(name) as file:
            for batch in file.iter_batches(size, row_groups=groups, columns=wanted, use_threads=False):
                yield self._Part(first, self._rows(batch, name, first))
                first += len(batch)

    def _rows(self, batch: pa.RecordBatch, name: str, first: int) -> Rows:
        images = _coded(batch.column(self.columns.image))
        places = [f"{name.rsplit('/', 1)[-1]}, row {first + row}" for row in range(len(images))]
        maps = None if self.columns.map is None else _coded(batch.column(self.columns.map))
        for image, one, place in zip(images, maps or (), places, strict=False):
            if image is None and one is not None:
                raise StudyError(f"a map without its image ({place}); give the row its image, or delete it")
        return Rows(images, self._labels(batch.column(self.columns.label), name, first), places, maps)

    def _labels(self, column: Any, name: str, first: int = 0) -> NDArray[np.int64]:
        where = self.root.path(name)
        if column.null_count:
            row = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise StudyError(
                f"'{where}' has {column.null_count:,} unlabelled images (first row {row}); use a labelled split"
            )
        return check_labels(column.to_numpy(), where) if len(column) else np.empty(0, np.int64)

    def _metadata(self, name: str) -> pq.FileMetaData:
        with self._opened(name) as file:
            return file.metadata

    @contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        where, whole = self.root.path(name), False
        with self.root.open_file(name) as stream:
            try:
                file = pq.ParquetFile(stream, pre_buffer=not self.root.is_local)
                whole = True
                yield file
            except (pa.ArrowException, OSError) as error:
                if self.root.failed(error):
                    raise self.root.error("read", name, error) from error
                problem = "is damaged" if whole else "is no whole Parquet file"
                raise StudyError(f"'{where}' {problem} ({error}); fetch it again") from error


def _coded(column: Any) -> list[bytes | None]:
    """A column's coded images: its bytes, or those in its struct."""
    import pyarrow as pa

    if not pa.types.is_struct(column.type):
        return column.to_pylist()
    coded = column.field("bytes").to_pylist()
    return [None if null else one for one, null in zip(coded, column.is_null().to_pylist(), strict=True)]


def _cut(rows: Rows, start: int, stop: int) -> Rows:
    maps = None if rows.maps is None else rows.maps[start:stop]
    return Rows(rows.images[start:stop], rows.labels[start:stop], rows.places[start:stop], maps)


def _take(kept: list[Rows], size: int) -> tuple[Rows, list[Rows]]:
    whole = _join(kept)
    rest = _cut(whole, size, len(whole))
    return _cut(whole, 0, size), [rest] if len(rest) else []


def _join(kept: list[Rows]) -> Rows:
    """Rows of several shards as one block, so that a block's size does not depend on how shards are cut."""
    maps = None if kept[0].maps is None else [one for rows in kept for one in rows.maps or ()]
    labels = np.concatenate([rows.labels for rows in kept])
    places = [place for rows in kept for place in rows.places]
    return Rows([image for rows in kept for image in rows.images], labels, places, maps)


def find_columns(schema: pa.Schema, where: str) -> Columns:
    """The columns of images, labels and maps.

    Raises:
        StudyError: none or several could be images, or labels; lists the columns.
    """
    import pyarrow as pa

    def is_binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    structs = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    coded = structs + [f.name for f in schema if is_binary(f.type)]
    maps = MAP_COLUMN if MAP_COLUMN in coded else None
    images = [name for name in structs if name != maps] or [name for name in coded if name != maps]
    features = _features(schema)
    classes = {name: feature.get("names") for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    labels = list(classes) or [f.name for f in schema if pa.types.is_integer(f.type)]
    if len(images) != 1 or len(labels) != 1:
        raise StudyError(
            f"'{where}' has {len(images)} image columns (struct<bytes, path>) and {len(labels)} label columns (int64), "
            f"one of each is needed; columns: {', '.join(schema.names)}"
        )
    return Columns(images[0], labels[0], maps, tuple(map(str, classes.get(labels[0]) or ())))


def _features(schema: pa.Schema) -> dict[str, Any]:
    metadata = (schema.metadata or {}).get(b"huggingface")
    return {} if metadata is None else json.loads(metadata).get("info", {}).get("features", {})
