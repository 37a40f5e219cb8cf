"""One folder of rows: a file a run or a checkpoint, as its writer left it, and few files in which many are gathered.

A single file has one writer and may be written again; its rows stand for gathered ones with the same keys. A gathered
file is never changed: `gather` writes a new one, reads it back, and only then deletes what it holds. Killed between the
two, rows are there twice, are read once, and are cleared up by the next `gather`; a reader that misses a file which it
has just listed lists again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scaling.errors import DamagedFile, MissingFile, StorageError, StudyError
from scaling.layout import gathered_name, gathered_number, is_gathered, owner, row_names
from scaling.rows import OtherVersion, Record, parse_table, unknown_columns
from scaling.storage import Storage

FILES = 64  # single files of ended runs, from which on they are gathered
ROWS = 100_000  # in a gathered file; one that has as many is left as it is
ROWS_A_GROUP = 5_000
LOOKS = 10  # at a folder in which files are being gathered
THREADS = 16  # that read from a remote place


class Journal:
    """The rows of one kind in one folder.

    Args:
        keys: columns that tell rows apart; the first is run_id.
        damaged: where damaged single files are noted, by name; they count as absent.
    """

    def __init__(
        self, storage: Storage, folder: str, kind: type[Record], keys: Sequence[str], damaged: dict[str, str]
    ) -> None:
        self.storage, self.folder, self.kind, self.keys, self.damaged = storage, folder, kind, tuple(keys), damaged

    def read(self, run_ids: Iterable[str] | None = None) -> pa.Table:
        """All rows, or those of some runs, in no certain order but for those of one file.

        Raises:
            DamagedFile: a gathered file. StudyError: a file of another version.
        """
        wanted = None if run_ids is None else set(run_ids)

        def look(names: Sequence[str]) -> pa.Table:
            singles = [name for name in names if wanted is None or owner(name) in wanted]
            gathered = [self._gathered(name) for name in names if is_gathered(name)]
            return self._merged(gathered, list(self._singles(self._contents(singles)).values()))

        found = self._looked(look)
        if wanted is None:
            return found
        own = pc.is_in(found["run_id"], pa.array(sorted(wanted), pa.string()))
        return found if pc.all(own).as_py() else found.filter(own)

    def read_run(self, run_id: str, names: Sequence[str]) -> pa.Table:
        """The rows of a run: those in its files `names`, and what was gathered of it, of which little is read."""
        own = list(self._singles(self._contents(names, may_be_absent=True)).values())  # first: they may be gathered now
        return self._looked(
            lambda there: self._merged([self._rows_of(name, run_id) for name in there if is_gathered(name)], own)
        )

    def read_single(self, name: str) -> pa.Table:
        """The rows of one file; none where it is absent or damaged."""
        return self._merged([], list(self._singles(self._contents([name], may_be_absent=True)).values()))

    def write(self, name: str, table: pa.Table) -> None:
        with self.storage.new_file(name) as path:
            pq.write_table(table, path, row_group_size=ROWS_A_GROUP)
        self.damaged.pop(name, None)

    def gather(self, settled: Callable[[str], bool], at_least: int = FILES) -> None:
        """Gather the single files of runs that nothing more is to come of, and clear up what was superseded.

        To be called by one process at a time, and only of files that nobody writes meanwhile.
        """
        names = row_names(self.storage, self.folder)
        gathered = {name: self._gathered(name) for name in names if is_gathered(name)}
        contents = self._contents(names)
        singles = self._singles(contents)
        # what a later version of this package has added to a file would be lost here
        ready = [name for name in singles if settled(owner(name)) and not unknown_columns(contents[name], self.kind)]
        spoilt = self._spoilt(gathered, singles)
        if len(ready) < at_least and not spoilt:
            return
        rest = {name: table for name, table in gathered.items() if name not in spoilt}
        taken = sorted(spoilt + _small(rest, sum(singles[name].num_rows for name in ready)))
        kept = self._merged([gathered[name] for name in taken], list(singles.values()))
        kept = kept.filter(pc.invert(self._is_row_of(kept, [singles[name] for name in set(singles) - set(ready)])))
        if kept.num_rows:
            self._write_gathered(kept, max((gathered_number(name) for name in gathered), default=0) + 1)
        for name in [*ready, *taken]:
            self.storage.delete(name)

    def _write_gathered(self, table: pa.Table, number: int) -> None:
        """Write and read back: what it holds is deleted next."""
        table = table.sort_by([(key, "ascending") for key in ("run_id", "epoch") if key in table.column_names])
        name = gathered_name(self.folder, number, uuid.uuid4().hex[:8])
        self.write(name, table)
        if not self._gathered(name).equals(table):
            raise StorageError(f"'{self.storage.path(name)}' does not hold what was written; see to the disk")

    def _looked(self, look: Callable[[Sequence[str]], pa.Table]) -> pa.Table:
        for _ in range(LOOKS):
            try:
                return look(row_names(self.storage, self.folder))
            except MissingFile:  # gathered meanwhile: it is elsewhere now
                continue
        raise StorageError(f"'{self.storage.path(self.folder)}' changes all the time; try again")

    def _contents(self, names: Sequence[str], may_be_absent: bool = False) -> dict[str, bytes]:
        """What the single files among `names` hold."""

        def read(name: str) -> bytes | None:
            try:
                return self.storage.read_bytes(name)
            except MissingFile:
                if may_be_absent:
                    return None
                raise

        names = [name for name in names if not is_gathered(name)]
        if self.storage.is_local or len(names) < 2:
            found = [read(name) for name in names]
        else:
            with ThreadPoolExecutor(THREADS) as threads:
                found = list(threads.map(read, names))
        return {name: content for name, content in zip(names, found, strict=True) if content is not None}

    def _singles(self, contents: Mapping[str, bytes]) -> dict[str, pa.Table]:
        """The rows of each file that is whole."""
        found = {name: self._single(name, content) for name, content in contents.items()}
        return {name: table for name, table in found.items() if table is not None}

    def _single(self, name: str, content: bytes) -> pa.Table | None:
        try:
            table = self._parsed(name, content)
            if any(run_id != owner(name) for run_id in pc.unique(table["run_id"]).to_pylist()):
                raise DamagedFile("it holds rows of another run")
        except DamagedFile as error:
            self.damaged[name] = str(error)
            return None
        return table

    def _gathered(self, name: str) -> pa.Table:
        try:
            return self._parsed(name, self.storage.read_bytes(name))
        except DamagedFile as error:
            raise self._lost(name, error) from error

    def _rows_of(self, name: str, run_id: str) -> pa.Table:
        """A run's rows in a gathered file, which is sorted: its row groups say which runs they hold."""
        with self.storage.open_file(name) as stream:
            try:
                file = pq.ParquetFile(stream)
                column = file.schema_arrow.get_field_index("run_id")
                ranges = [file.metadata.row_group(i).column(column).statistics for i in range(file.num_row_groups)]
                groups = [i for i, runs in enumerate(ranges) if runs is None or runs.min <= run_id <= runs.max]
                found = file.read_row_groups(groups).filter(pc.field("run_id") == run_id)
            except (pa.ArrowException, OSError) as error:
                if self.storage.failed(error):
                    raise self.storage.error("read", name, error) from error
                raise self._lost(name, error) from error
        if not found.num_rows:
            return self.kind.schema_arrow().empty_table()
        buffer = pa.BufferOutputStream()
        pq.write_table(found, buffer)
        return self._parsed(name, buffer.getvalue().to_pybytes())

    def _lost(self, name: str, error: Exception) -> DamagedFile:
        return DamagedFile(
            f"'{self.storage.path(name)}' is damaged ({error}); it holds rows of many runs: restore it from a copy, or "
            "delete it to have them trained and scored again"
        )

    def _parsed(self, name: str, content: bytes) -> pa.Table:
        try:
            return parse_table(content, self.kind)
        except OtherVersion as error:
            raise StudyError(
                f"'{self.storage.path(name)}' {error}; it was written by another version: use that version or a new "
                "study name"
            ) from error

    def _merged(self, gathered: Sequence[pa.Table], singles: Sequence[pa.Table]) -> pa.Table:
        """Rows of the last table that has their keys, all singles being one."""
        tables = [*gathered, pa.concat_tables([self.kind.schema_arrow().empty_table(), *singles])]
        table = pa.concat_tables(tables)
        if not gathered:
            return table
        order = np.repeat(np.arange(len(tables)), [part.num_rows for part in tables])
        code = self._codes(table)
        last = np.zeros(int(code.max(initial=-1)) + 1, dtype=np.int64)
        np.maximum.at(last, code, order)
        valid = order == last[code]
        return table if valid.all() else table.filter(pa.array(valid))

    def _codes(self, table: pa.Table) -> np.ndarray:
        """A number for each row, alike where the keys are."""
        code = np.zeros(table.num_rows, dtype=np.int64)
        for key in self.keys:
            own = key_codes(table[key])
            code = code * (int(own.max(initial=0)) + 1) + own
        return np.asarray(np.unique(code, return_inverse=True)[1])

    def _is_row_of(self, table: pa.Table, others: Sequence[pa.Table]) -> pa.Array:
        """Whether each row has the keys of a row in the other tables."""
        both = pa.concat_tables([table, *others])
        code = self._codes(both)
        return pa.array(np.isin(code[: table.num_rows], code[table.num_rows :]))

    def _spoilt(self, gathered: Mapping[str, pa.Table], singles: Mapping[str, pa.Table]) -> list[str]:
        """Gathered files with rows that another file has too."""
        if not gathered:
            return []
        tables = [*gathered.values(), pa.concat_tables([self.kind.schema_arrow().empty_table(), *singles.values()])]
        order = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
        code = self._codes(pa.concat_tables(tables))
        first, last = np.full(len(code), len(tables)), np.zeros(len(code), dtype=np.int64)
        np.minimum.at(first, code, order)
        np.maximum.at(last, code, order)
        shared = set(order[first[code] != last[code]].tolist())
        return [name for at, name in enumerate(gathered) if at in shared]


def key_codes(column: pa.ChunkedArray) -> np.ndarray:
    """A column of counts as it is, one of texts as numbers in their order, below how many different ones there are."""
    if not pa.types.is_string(column.type):
        return np.asarray(column.to_numpy())
    parts = column.dictionary_encode().unify_dictionaries().chunks
    if not parts:
        return np.zeros(0, dtype=np.int64)
    rank = np.argsort(pc.sort_indices(parts[0].dictionary).to_numpy())
    return rank[np.concatenate([part.indices.to_numpy() for part in parts])]


def _small(gathered: Mapping[str, pa.Table], total: int) -> list[str]:
    """Gathered files that go into a new one of `total` rows, so that few stay: while they are not much larger."""
    taken = []
    for name in sorted(gathered, key=lambda name: gathered[name].num_rows):
        rows = gathered[name].num_rows
        if rows > 2 * total or rows + total > ROWS:
            break
        taken.append(name)
        total += rows
    return taken
