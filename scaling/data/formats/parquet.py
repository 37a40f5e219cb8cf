"""Parquet in the Hugging Face layout, one file or many shards a split, on a local disk or any pyarrow file system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import (
    USE_LABELLED,
    Rows,
    Split,
    Unlabelled,
    check_labels,
    chosen_names,
    file_stamp,
    first_labelled,
)
from scaling.data.formats.parquet_columns import find_columns
from scaling.data.formats.parquet_files import file_stem, known_splits, list_stems, named_splits, split_files
from scaling.data.formats.shards import check_whole
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

TRAIN, HELDOUT = "train", ("test", "validation", "val")
EXPECTED = "train*.parquet"


def find_parquet(root: Storage, spec: DatasetSpec) -> tuple[Split, Split] | None:
    """The named splits, or `train` and the first labelled one of `test`, `validation`, `val`; None: neither is there.

    Raises:
        StudyError: only one of the two is there; as `check_whole`. StorageError: a place that cannot be read.
    """
    train_name, *heldout_names = chosen_names(spec, TRAIN, HELDOUT)
    listed = list_stems(root)
    files = {name: found for name in (train_name, *heldout_names) if (found := split_files(root, listed, name))}
    known = known_splits(listed)
    if not files and not ((spec.choices() or spec.format) and known):
        return None
    (train,) = named_splits(root, files, [train_name], known, spec.train_split and "train_split")
    heldout = named_splits(root, files, heldout_names, known, spec.heldout_split and "heldout_split")
    check_whole(map(file_stem, files[train]), train, root.shown)
    first = ParquetSplit(root, files[train], spec.image_column, spec.label_column)

    def open_heldout(name: str) -> Split:
        split = ParquetSplit(root, files[name], spec.image_column, spec.label_column or first.columns.label)
        if len(heldout) > 1:
            split.check_labelled()
        check_whole(map(file_stem, files[name]), name, root.shown)
        return split

    return first, first_labelled([partial(open_heldout, name) for name in heldout])


class ParquetSplit(Split):
    """The shards of one split, in order of their names.

    Columns: one of images, struct<bytes, path> or binary; `heatmap`, of the same kind, null where an image has no map;
    labels, the ClassLabel or only integer column. image, label: their names, where several could be it.

    Raises:
        StudyError: a file that is no whole Parquet file, columns that are not these, shards that differ in them.
    """

    coded = True

    def __init__(self, root: Storage, names: list[str], image: str | None = None, label: str | None = None) -> None:
        self.root, self.names = root, names
        self.metadata = [self._metadata(name) for name in names]
        columns = []
        for name, meta in zip(names, self.metadata, strict=True):
            found = find_columns(meta.schema.to_arrow_schema(), root.path(name), image, label)
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
        return np.concatenate([self._labels(self._label_column(name), name) for name in self.names])

    def check_labelled(self) -> None:
        """Read labels until one is found.

        Raises:
            Unlabelled: there is none.
        """
        if not any((column.fill_null(-1).to_numpy() >= 0).any() for column in map(self._label_column, self.names)):
            raise Unlabelled(f"'{self.root.path(self.names[0])}' has no labelled image; {USE_LABELLED}")

    def _label_column(self, name: str) -> Any:
        with self._opened(name) as file:
            return file.read([self.columns.label]).column(0)

    def fingerprint(self) -> list[Any]:
        if self.root.is_local:
            return [[name, *file_stamp(Path(self.root.path(name)))[1:]] for name in self.names]
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
            raise StudyError(f"'{where}' has {column.null_count:,} unlabelled images (first row {row}); {USE_LABELLED}")
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
