"""All scores of a study in memory: a table with an index by checkpoint, and what is newer than that table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scaling.journal import key_codes
from scaling.records import AlignmentRecord
from scaling.rows import records_of, table_of

CheckpointKey = tuple[str, int]  # run_id, epoch
IsOwn = Callable[[str, str], bool]  # of a benchmark and a protocol


class ScoreBook:
    """Scores by checkpoint, whatever their benchmark and protocol; records are made when they are asked for.

    Args:
        table: rows of AlignmentRecords.
        is_own: whether a score by this benchmark and protocol is one of the study's.
    """

    def __init__(self, table: pa.Table, is_own: IsOwn) -> None:
        self._table, self._is_own = table, is_own
        self._order, self._places = _sorted(table)
        self._epochs: defaultdict[str, set[int]] = defaultdict(set)  # run_id -> those that have scores
        for run_id, epoch in self._places:
            self._epochs[run_id].add(epoch)
        self._done = _done(table, is_own)
        self._new: dict[CheckpointKey, list[AlignmentRecord]] = {}

    def of(self, run_id: str, epoch: int) -> list[AlignmentRecord]:
        """A checkpoint's scores."""
        if (run_id, epoch) in self._new:
            return list(self._new[run_id, epoch])
        start, stop = self._places.get((run_id, epoch), (0, 0))
        return records_of(AlignmentRecord, self._table.take(self._order[start:stop])) if stop > start else []

    def of_run(self, run_id: str) -> list[AlignmentRecord]:
        """A run's scores, by epoch."""
        return [score for epoch in sorted(self._epochs.get(run_id, ())) for score in self.of(run_id, epoch)]

    def done(self, run_id: str, epoch: int) -> frozenset[str]:
        """The benchmarks by which a checkpoint is scored as the study asks for."""
        return self._done.get((run_id, epoch), frozenset())

    def put(self, scores: Iterable[AlignmentRecord]) -> None:
        """Add scores; each takes the place of the one by the same protocol on its benchmark."""
        for score in scores:
            key = score.run_id, score.epoch
            there = [s for s in self.of(*key) if (s.benchmark, s.protocol) != (score.benchmark, score.protocol)]
            self._new[key] = [*there, score]
            self._epochs[score.run_id].add(score.epoch)
            scored = [s for s in self._new[key] if s.status == "scored"]
            self._done[key] = frozenset(s.benchmark for s in scored if self._is_own(s.benchmark, s.protocol))

    def rows(self) -> tuple[pa.Table, pa.Array]:
        """All scores as rows, and the row numbers in the order of run and epoch."""
        if not self._new:
            return self._table, self._order
        old = np.ones(self._table.num_rows, dtype=bool)
        new = dict(self._new)
        for key in new:
            start, stop = self._places.get(key, (0, 0))
            old[self._order[start:stop].to_numpy()] = False
        rows = table_of(AlignmentRecord, [score for scores in new.values() for score in scores])
        table = pa.concat_tables([self._table.filter(pa.array(old)), rows])
        return table, _sorted(table)[0]


def _sorted(table: pa.Table) -> tuple[pa.Array, dict[CheckpointKey, tuple[int, int]]]:
    """Row numbers ordered by run and epoch, and where in them the rows of each checkpoint stand."""
    if not table.num_rows:
        return pa.array([], pa.int64()), {}
    runs, epochs = key_codes(table["run_id"]), table["epoch"].to_numpy()
    order = np.lexsort((epochs, runs))
    first = np.flatnonzero(np.r_[True, np.diff(runs[order]) | np.diff(epochs[order])])
    heads = table.select(["run_id", "epoch"]).take(pa.array(order[first]))
    keys = zip(_shared(heads["run_id"]), heads["epoch"].to_pylist(), strict=True)
    places = zip(first.tolist(), [*first[1:].tolist(), len(order)], strict=True)
    return pa.array(order), dict(zip(keys, places, strict=True))


def _done(table: pa.Table, is_own: IsOwn) -> dict[CheckpointKey, frozenset[str]]:
    """Checkpoint -> the benchmarks by which it is scored as the study asks for."""
    is_done = pc.and_(own_rows(table, is_own), pc.equal(table["status"], "scored"))
    own = table.select(["run_id", "epoch", "benchmark"]).filter(is_done)
    found: defaultdict[CheckpointKey, list[str]] = defaultdict(list)
    columns = (_shared(own["run_id"]), own["epoch"].to_pylist(), _shared(own["benchmark"]))
    for run_id, epoch, benchmark in zip(*columns, strict=True):
        found[run_id, epoch].append(benchmark)
    sets: dict[tuple[str, ...], frozenset[str]] = {}  # most checkpoints have the same
    return {key: sets.setdefault(tuple(names), frozenset(names)) for key, names in found.items()}


def own_rows(table: pa.Table, is_own: IsOwn) -> pa.Array:
    """Whether each row's benchmark and protocol are the study's; asked once for each pair of them."""
    benchmark, protocol = key_codes(table["benchmark"]), key_codes(table["protocol"])
    pairs = benchmark * (int(protocol.max(initial=0)) + 1) + protocol
    _, first, pair = np.unique(pairs, return_index=True, return_inverse=True)
    heads = table.select(["benchmark", "protocol"]).take(pa.array(first)).to_pylist()
    return pa.array(np.array([is_own(head["benchmark"], head["protocol"]) for head in heads], dtype=bool)[pair])


def _shared(column: pa.ChunkedArray) -> list[str]:
    """A column's texts, each one object however often it is there."""
    texts: list[str] = []
    for part in column.dictionary_encode().unify_dictionaries().chunks:
        values = part.dictionary.to_pylist()
        texts += [values[index] for index in part.indices.to_pylist()]
    return texts
