"""The results store: rows come back equal, and other programs read them without this code."""

from __future__ import annotations

from typing import get_args

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.errors import StorageError, StudyError
from scaling.layout import epochs_name, run_name, scores_name
from scaling.records import (
    AlignmentRecord,
    EpochRecord,
    ResultsStore,
    RunRecord,
    RunStatus,
    kept_epochs,
    needs_training,
    run_record,
)
from scaling.specs.run import RunSpec
from scaling.storage import Storage


@pytest.fixture
def store(storage) -> ResultsStore:
    return ResultsStore(storage)


@pytest.fixture
def finished(make_run) -> RunRecord:
    facts = {"n_params": 10**12, "n_samples": 20, "flops": 3e18, "flops_per_image": 1e9, "samples_seen": 40}
    facts |= {"epochs_done": 2, "loss": 0.1 + 0.2, "accuracy": 1 / 3, "train_s": 1.5, "image_size": 8}
    return run_record(make_run(), "finished", None, kept=(0, 2), **facts)


@pytest.fixture
def failed(make_run) -> RunRecord:
    return run_record(make_run(seeds=[1]), "failed", "OSError: disk 'full'; ünïcode\nline 2")


def score_record(run_id: str, epoch: int = 2, **changes: object) -> AlignmentRecord:
    facts = {"samples_seen": 40, "flops": 3e18, "accuracy": 0.5, "region": "IT", "metric": "rsa", "layer": "layer4.0"}
    facts |= {"raw": 0.3, "ceiling": 0.6, "ceiling_kind": "split-half", "score": 0.5, "n_stimuli": 92}
    facts |= {"n_neuroids": None, "selection_raw": 0.4, "status": "scored", "reason": None, "score_s": 0.1}
    facts |= {"benchmark": "simulated-ventral-stream.IT"} | changes
    return AlignmentRecord.model_validate({"run_id": run_id, "epoch": epoch, **facts})


def test_records_come_back_equal(store, finished, failed):
    for record in (finished, failed):
        store.write_run(record)
    assert store.read_runs() == {record.run_id: record for record in (finished, failed)}
    assert store.read_run(finished.run_id) == finished
    assert store.read_runs([failed.run_id, "absent"]) == {failed.run_id: failed}
    assert store.read_run("absent") is None
    assert kept_epochs(store.read_run(finished.run_id)) == (0, 2)


def test_the_spec_in_a_record_is_the_run(store, make_run):
    run = make_run(models=[{"family": "vit", "sizes": [6], "heads": 2}], training={"clip_norm": 1.0})
    store.write_run(run_record(run, "finished", None))
    record = store.read_run(run.run_id)
    assert RunSpec.model_validate_json(record.spec) == run
    assert (record.family, record.size, record.depth, record.images_per_class) == ("vit", 6, None, 2)


def test_scores_are_kept_by_checkpoint(store):
    first, second = score_record("a", 1), score_record("a", 2)
    failure = score_record("b", score=None, raw=None, layer=None, status="failed", reason="no features")
    for record in (first, second, failure):
        store.write_scores([record])
    assert store.read_scores() == [first, second, failure]
    assert store.read_scores(["b"]) == [failure]
    assert store.read_checkpoint_scores("a", 2) == [second]
    again = [score_record("a", 2, score=0.9), score_record("a", 2, benchmark="kriegeskorte2008.human-IT")]
    store.write_scores(again)
    assert store.read_checkpoint_scores("a", 2) == again, "a second scoring replaces the first"


def test_epochs_come_back_equal(store):
    start = EpochRecord(run_id="a", epoch=0, samples_seen=0, flops=0, loss=None, lr=None, accuracy=0.1, epoch_s=0.2)
    epochs = [start, start.model_copy(update={"epoch": 1, "loss": 2.5, "lr": 0.1, "accuracy": None})]
    store.write_epochs(epochs)
    assert store.read_epochs("a") == epochs
    assert store.read_epochs("absent") == []


@pytest.mark.parametrize("kind", [RunRecord, AlignmentRecord, EpochRecord])
def test_columns_are_typed_whatever_a_row_holds(kind):
    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "RunStatus": pa.string()}
    for field, annotation in kind.__annotations__.items():
        name = annotation.removesuffix(" | None").partition("[")[0]
        expected = pa.string() if name == "Literal" else types[name]
        assert kind.schema_arrow().field(field).type == expected, field


def test_null_columns_have_one_type_in_all_files(store, finished, failed):
    """The first file has numbers where the second has none: pandas and DuckDB must still see one table."""
    store.write_run(finished)
    store.write_run(failed)
    folder = store.storage.path("runs")
    schemas = {pq.read_schema(f"{folder}/{name}").to_string() for name in store.storage.names("runs")}
    assert len(schemas) == 1
    frame = pd.read_parquet(folder).set_index("run_id")
    table = duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet')").df().set_index("run_id")
    for rows in (frame, table):
        assert list(rows.columns) == [name for name in RunRecord.model_fields if name != "run_id"]
        assert rows.loc[finished.run_id, ["n_params", "loss", "status"]].tolist() == [10**12, 0.1 + 0.2, "finished"]
        assert rows.loc[failed.run_id, ["n_params", "loss", "accuracy"]].isna().all()
        assert rows.loc[failed.run_id, "reason"] == failed.reason


def test_duckdb_joins_scores_and_runs(store, finished):
    store.write_run(finished)
    store.write_scores([score_record(finished.run_id, region=region) for region in ("V1", "IT")])
    root = store.storage.path()
    query = f"SELECT region, score, n_params FROM '{root}/scores/*.parquet' JOIN '{root}/runs/*.parquet' USING (run_id)"
    assert sorted(duckdb.sql(query).fetchall()) == [("IT", 0.5, 10**12), ("V1", 0.5, 10**12)]


def cut(content: bytes, share: float) -> bytes:
    return content[: int(share * len(content))]


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: cut(content, 0.5),
    "all but the end": lambda content: cut(content, 0.99),
    "garbage": lambda content: b"PAR1" + b"\xff" * 500 + b"PAR1",
    "zeros": lambda content: bytes(len(content)),
    "zeros in the middle": lambda content: content[:100] + bytes(len(content) - 200) + content[-100:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_rows_count_as_absent_and_are_named(store, finished, failed, damage):
    epoch = EpochRecord(run_id="a", epoch=1, samples_seen=9, flops=0, loss=1.5, lr=0.1, accuracy=None, epoch_s=0.2)
    store.write_run(finished)
    store.write_run(failed)
    store.write_scores([score_record("a")])
    store.write_scores([score_record("b")])
    store.write_epochs([epoch])
    names = [run_name(finished.run_id), scores_name("a", 2), epochs_name("a")]
    for name in names:
        store.storage.write_bytes(name, damage(store.storage.read_bytes(name)))
    assert store.read_runs() == {failed.run_id: failed}
    assert store.read_run(finished.run_id) is None
    assert store.read_scores() == [score_record("b")]
    assert store.read_checkpoint_scores("a", 2) == []
    assert store.read_epochs("a") == []
    assert list(store.damaged) == names
    assert all("Parquet" in reason for reason in store.damaged.values())
    assert needs_training(RunSpec.model_validate_json(finished.spec), store.read_run(finished.run_id))
    store.write_run(finished)
    store.write_scores([score_record("a")])
    assert list(store.damaged) == [epochs_name("a")], "what is written anew is whole"
    assert store.read_run(finished.run_id) == finished
    assert store.read_checkpoint_scores("a", 2) == [score_record("a")]


def test_rows_of_another_run_and_files_without_rows_are_damage(store, finished, failed):
    store.write_run(finished)
    store.storage.write_bytes(run_name(failed.run_id), store.storage.read_bytes(run_name(finished.run_id)))
    with store.storage.new_file(run_name("empty")) as path:
        pq.write_table(RunRecord.schema_arrow().empty_table(), path)
    assert store.read_runs() == {finished.run_id: finished}
    assert store.damaged == {
        run_name(failed.run_id): "it holds rows of another run",
        run_name("empty"): "it holds no row",
    }


def test_a_place_that_does_not_answer_is_no_damage(finished):
    gone = ResultsStore(Storage("s3://k:s@b/x?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:9"))
    for read in (gone.read_runs, gone.read_scores, lambda: gone.read_run("a"), lambda: gone.write_run(finished)):
        with pytest.raises(StorageError):
            read()
    assert gone.damaged == {}


def test_an_unknown_status_is_of_another_version(store, finished):
    store.write_run(finished)
    path = store.storage.path(run_name(finished.run_id))
    table = pq.read_table(path)
    at = table.column_names.index("status")
    pq.write_table(table.set_column(at, "status", pa.array(["paused"])), path)
    with pytest.raises(StudyError, match=r"has in 'status': .*; it was written by another version"):
        store.read_runs()
    assert store.damaged == {}


def test_a_reopened_run_is_trained_again(store, finished):
    store.write_run(finished)
    again = store.reopen(finished, "weights of epoch 2 are damaged")
    assert again == store.read_run(finished.run_id)
    assert (again.status, again.reason) == ("failed", "weights of epoch 2 are damaged")
    assert needs_training(RunSpec.model_validate_json(finished.spec), again)
    assert again.model_copy(update={"status": "finished", "reason": None}) == finished


def test_scores_merge_by_benchmark_and_protocol(store):
    first = [score_record("a", benchmark=name, protocol="p") for name in ("x", "y")]
    store.write_scores(first)
    store.write_scores([])
    assert store.read_checkpoint_scores("a", 2) == first
    other = score_record("a", benchmark="x", protocol="q")
    better = score_record("a", benchmark="y", protocol="p", score=0.9)
    added = score_record("a", benchmark="z", protocol="p")
    store.write_scores([better, other, added])
    assert store.read_checkpoint_scores("a", 2) == [first[0], better, other, added]
    assert store.read_checkpoint_scores("a", 1) == []


def test_a_file_of_another_version_is_refused(store, finished):
    store.write_run(finished)
    path = store.storage.path(f"runs/{finished.run_id}.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["flops"]), path)
    with pytest.raises(StudyError, match="lacks the column 'flops'; it was written by another version"):
        store.read_run(finished.run_id)


def test_columns_with_a_default_may_be_absent(store, finished):
    """Results from before throughput was recorded stay readable, also beside later ones."""
    later = run_record(RunSpec.model_validate_json(finished.spec).model_copy(update={"seed": 5}), "finished", None)
    later = later.model_copy(update={"images_per_s": 12.5, "n_skipped": 0})
    store.write_run(finished)
    store.write_run(later)
    added = [name for name, field in RunRecord.model_fields.items() if not field.is_required()]
    assert added == [
        "images_per_s", "flops_per_s", "compute_share", "variant", "n_skipped", "flops_spent", "validation_loss",
            "computing",
    ]  # fmt: skip
    path = store.storage.path(f"runs/{finished.run_id}.parquet")
    pq.write_table(pq.read_table(path).drop_columns(added), path)
    assert store.read_runs() == {record.run_id: record for record in (finished, later)}
    epoch = EpochRecord(run_id="a", epoch=1, samples_seen=9, flops=0, loss=1.5, lr=0.1, accuracy=None, epoch_s=0.2)
    store.write_epochs([epoch])
    path = store.storage.path("epochs/a.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["images_per_s", "compute_share", "validation_loss"]), path)
    assert store.read_epochs("a") == [epoch]


def test_a_record_names_its_models_variant(make_run):
    run = make_run(models=[{"family": "timm", "sizes": ["resnet10t"]}], dataset={"name": "digits", "image_size": 64})
    assert run_record(run, "finished", None).variant == "resnet10t"
    assert run_record(make_run(), "finished", None).variant is None


def test_a_run_out_of_memory_is_trained_again_with_other_resources(make_run):
    vit = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}  # no batch norm, whose statistics count
    run = make_run(models=[vit], resources={"cpus_per_worker": 2})
    record = run_record(run, "out_of_memory", "needs 90 GiB of 80")
    roomier = make_run(models=[vit], resources={"cpus_per_worker": 2, "micro_batch": 5})
    assert roomier.run_id == run.run_id
    assert (needs_training(run, record), needs_training(roomier, record)) == (False, True)
    assert needs_training(run, None)
    statuses = {status: needs_training(roomier, run_record(run, status, "why")) for status in get_args(RunStatus)}
    assert statuses == {"finished": False, "diverged": False, "failed": True, "out_of_memory": True, "cut": False}


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_every_status_is_stored(store, make_run, status):
    store.write_run(run_record(make_run(), status, "why"))
    assert [record.status for record in store.read_runs().values()] == [status]
