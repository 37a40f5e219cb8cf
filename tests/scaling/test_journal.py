"""Rows that are gathered into few files: the same rows, at every moment and for every reader."""

from __future__ import annotations

import shutil

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling import journal
from scaling.errors import DamagedFile
from scaling.layout import RUNS, SCORES, epochs_name, is_gathered, row_names, run_name, scores_name
from scaling.records import AlignmentRecord, EpochRecord, ResultsStore, RunRecord, run_record
from scaling.score_book import ScoreBook, own_rows
from scaling.storage import Storage

N_RUNS = 6
KEYS = {"runs": ["run_id"], "epochs": ["run_id", "epoch"], "scores": ["run_id", "epoch", "benchmark", "protocol"]}


def epoch_record(run_id: str, epoch: int, **changes: object) -> EpochRecord:
    facts = {"samples_seen": 9, "flops": 1.0, "loss": 1.5 / epoch, "lr": 0.1, "accuracy": None, "epoch_s": 0.2}
    return EpochRecord.model_validate({"run_id": run_id, "epoch": epoch, **facts, **changes})


def score_record(run_id: str, epoch: int, **changes: object) -> AlignmentRecord:
    facts = {"samples_seen": 40, "flops": 3e18, "accuracy": 0.5, "region": "IT", "metric": "rsa", "layer": "layer4.0"}
    facts |= {"raw": 0.3, "ceiling": 0.6, "ceiling_kind": "split-half", "score": 0.5, "n_stimuli": 92, "protocol": "p"}
    facts |= {"n_neuroids": None, "selection_raw": 0.4, "status": "scored", "reason": None, "score_s": 0.1}
    return AlignmentRecord.model_validate({"run_id": run_id, "epoch": epoch, "benchmark": "x.IT", **facts, **changes})


@pytest.fixture
def records(make_run) -> list[RunRecord]:
    runs = [make_run(seeds=[seed]) for seed in range(N_RUNS)]
    return sorted((run_record(run, "finished", None) for run in runs), key=lambda record: record.run_id)


@pytest.fixture(params=["local", "bucket"])
def store(request, tmp_path, records) -> ResultsStore:
    """Six ended runs with three epochs and two scored checkpoints each."""
    place = tmp_path / "study" if request.param == "local" else request.getfixturevalue("s3")
    return filled(ResultsStore(Storage(place)), records)


@pytest.fixture
def local(tmp_path, records) -> ResultsStore:
    return filled(ResultsStore(Storage(tmp_path / "study")), records)


def filled(store: ResultsStore, records: list[RunRecord]) -> ResultsStore:
    for record in records:
        store.write_run(record)
        store.write_epochs([epoch_record(record.run_id, epoch) for epoch in (1, 2, 3)])
        for epoch in (1, 3):
            store.write_scores([score_record(record.run_id, epoch, benchmark=name) for name in ("x.V1", "x.IT")])
    return store


def everything(storage: Storage) -> tuple:
    """All rows, as a store that knows nothing yet reads them."""
    store = ResultsStore(storage)
    runs = store.read_runs()
    assert store.damaged == {}
    return runs, store.read_scores(), {run_id: store.read_epochs(run_id) for run_id in runs}


def seen_by_pandas(storage: Storage) -> dict[str, int]:
    """Rows of each folder, none of them twice."""
    found = {name: pd.read_parquet(storage.path(name), filesystem=storage.filesystem) for name in KEYS}
    assert not any(frame.duplicated(KEYS[name]).any() for name, frame in found.items())
    return {name: len(frame) for name, frame in found.items()}


def n_files(storage: Storage) -> list[int]:
    return [len(row_names(storage, folder)) for folder in KEYS]


def test_gathered_rows_are_the_same_rows_in_few_files(store, records):
    before, counts = everything(store.storage), seen_by_pandas(store.storage)
    store.gather(at_least=N_RUNS)
    assert n_files(store.storage) == [1, 1, 1]
    assert everything(store.storage) == before
    assert seen_by_pandas(store.storage) == counts
    one = records[2]
    assert store.read_run(one.run_id) == one
    assert store.read_runs([one.run_id]) == {one.run_id: one}
    assert store.read_run("absent") is None
    assert store.read_epochs("absent") == []


def test_few_files_and_runs_that_may_change_are_left(local, records):
    local.write_run(records[0].model_copy(update={"status": "failed", "reason": "power cut"}))
    before = everything(local.storage)
    local.gather(at_least=100)
    assert n_files(local.storage) == [N_RUNS, N_RUNS, 2 * N_RUNS]
    local.gather(busy=[records[1].run_id], at_least=1)
    left = {run_name(record.run_id) for record in records[:2]}
    assert {name for name in row_names(local.storage, RUNS) if not is_gathered(name)} == left
    assert len(row_names(local.storage, SCORES)) == 4 + 1
    assert everything(local.storage) == before


class Killed(BaseException):
    pass


def killed_at(monkeypatch, call: int) -> None:
    """Die before the call-th change of the folder from now on."""
    left = iter(range(call))

    def dying(method):
        def run(self, *args, **kwargs):
            if next(left, None) is None:
                raise Killed
            return method(self, *args, **kwargs)

        return run

    for name in ("new_file", "delete"):
        monkeypatch.setattr(Storage, name, dying(getattr(Storage, name)))


def test_killed_at_any_point_nothing_is_lost_and_the_next_one_clears_up(local, records, tmp_path):
    """Gathered once, then a run again: every kind of file is written and deleted."""
    local.gather(at_least=1)
    local.write_run(records[0].model_copy(update={"accuracy": 0.75}))
    local.write_epochs([epoch_record(records[0].run_id, 1, loss=9.0)])
    local.write_scores([score_record(records[0].run_id, 3, score=0.9)])
    before, points, whole = everything(local.storage), 0, False
    while not whole:
        place = Storage(shutil.copytree(local.storage.root, tmp_path / str(points)))
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, points)
            try:
                ResultsStore(place).gather(at_least=1)
                whole = True
            except Killed:
                points += 1
        assert everything(place) == before, points
        ResultsStore(place).gather(at_least=100)
        assert everything(place) == before, points
        assert (n_files(place), seen_by_pandas(place)["runs"]) == ([1, 1, 1], N_RUNS)
    assert points == 3 * 3, "a file written and two deleted, in three folders"


def test_a_run_that_is_written_again_stands_for_its_gathered_rows(local, records):
    local.gather(at_least=1)
    again = local.reopen(records[0], "its weights are gone")
    other = records[1].run_id
    local.write_scores([score_record(other, 3, score=0.9), score_record(other, 3, protocol="q")])
    before = everything(local.storage)
    assert before[0][again.run_id] == again
    assert [s.score for s in before[1] if (s.run_id, s.epoch) == (other, 3)] == [0.5, 0.9, 0.5]
    last = pd.read_parquet(local.storage.path(RUNS)).drop_duplicates("run_id", keep="last").set_index("run_id")
    assert last.loc[again.run_id, "status"] == "failed", "as the docstring says"
    local.gather(at_least=100)
    assert everything(local.storage) == before
    assert seen_by_pandas(local.storage) == {"runs": N_RUNS, "epochs": 3 * N_RUNS, "scores": 4 * N_RUNS + 1}


def test_a_reader_that_listed_before_finds_what_was_gathered_meanwhile(local, monkeypatch):
    before = everything(local.storage)
    listings = {folder: iter([row_names(local.storage, folder)]) for folder in (RUNS, SCORES)}
    local.gather(at_least=1)

    def listed(storage: Storage, folder: str) -> list[str]:
        return next(listings.get(folder, iter([])), None) or row_names(storage, folder)

    monkeypatch.setattr(journal, "row_names", listed)
    assert everything(local.storage) == before


def test_many_gatherings_leave_few_files(local, make_run, monkeypatch):
    monkeypatch.setattr(journal, "ROWS", 40)
    counts = []
    for seed in range(100, 160, 4):
        for one in range(seed, seed + 4):
            local.write_run(run_record(make_run(seeds=[one]), "finished", None))
        local.gather(at_least=4)
        counts.append(len(row_names(local.storage, RUNS)))
    assert len(local.read_runs()) == N_RUNS + 60
    assert max(counts) <= 5


def test_damage_is_named_and_touches_no_other_run(local, records):
    damaged = records[0].run_id
    for name in (run_name(damaged), epochs_name(damaged), scores_name(damaged, 3)):
        local.storage.write_bytes(name, local.storage.read_bytes(name)[:-20])
    local.gather(at_least=1)
    store = ResultsStore(local.storage)
    assert set(store.read_runs()) == {record.run_id for record in records[1:]}
    assert list(store.damaged) == [run_name(damaged)]
    assert not is_gathered(next(iter(store.damaged))), "what cannot be read is not deleted"
    (name,) = (name for name in row_names(local.storage, RUNS) if is_gathered(name))
    local.storage.write_bytes(name, local.storage.read_bytes(name)[:-20])
    for read in (local.read_runs, lambda: local.read_run(records[1].run_id), lambda: local.gather(at_least=1)):
        with pytest.raises(DamagedFile, match=rf"{name}' is damaged .*restore it from a copy, or delete it"):
            read()


def test_files_of_earlier_and_later_versions(local, records):
    """What an earlier one lacks has its default; what a later one added is not thrown away."""
    early, late = (local.storage.path(run_name(record.run_id)) for record in records[:2])
    pq.write_table(pq.read_table(early).drop_columns(["variant", "flops_spent"]), early)
    pq.write_table(pq.read_table(late).append_column("novel", pa.array([1.0])), late)
    score = local.storage.path(scores_name(records[0].run_id, 3))
    pq.write_table(pq.read_table(score).drop_columns(["ceiled", "protocol"]), score)
    before = everything(local.storage)
    local.gather(at_least=1)
    assert everything(local.storage) == before
    assert [name for name in row_names(local.storage, RUNS) if not is_gathered(name)] == [run_name(records[1].run_id)]
    gathered = duckdb.sql(f"SELECT * FROM read_parquet('{local.storage.path(SCORES)}/*.parquet')").df()
    assert set(zip(gathered["ceiled"], gathered["protocol"], strict=True)) == {("r/c", ""), ("r/c", "p")}


def test_a_score_book_is_its_table_and_what_is_newer(local, records):
    book = ScoreBook(local.scores_table(), lambda benchmark, protocol: protocol == "p")
    one, other = records[0].run_id, records[1].run_id
    new = [
        score_record(one, 3, score=0.9),
        score_record(other, 2),
        score_record(other, 2, protocol="q", benchmark="y.IT"),
    ]
    failed = score_record(other, 1, benchmark="x.V1", status="failed", score=None)
    expected = {}
    for score in [*local.read_scores(), *new, failed]:
        expected[score.run_id, score.epoch, score.benchmark, score.protocol] = score
    book.put([*new, failed])
    by_place = sorted(expected.values(), key=lambda score: (score.run_id, score.epoch))
    found = [score for run_id in sorted({score.run_id for score in by_place}) for score in book.of_run(run_id)]
    assert sorted(map(str, found)) == sorted(map(str, by_place))
    rows, order = book.rows()
    table = rows.take(order)
    assert [AlignmentRecord.model_validate(row) for row in table.to_pylist()] == found
    assert book.done(one, 3) == {"x.V1", "x.IT"}
    assert (book.done(other, 2), book.done(other, 1), book.done(other, 3)) == ({"x.IT"}, {"x.IT"}, {"x.V1", "x.IT"})
    assert (book.of(one, 2), book.done(one, 2)) == ([], set())
    assert own_rows(table, lambda benchmark, protocol: protocol == "q").to_pylist() == [
        s.protocol == "q" for s in found
    ]
