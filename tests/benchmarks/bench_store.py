"""A large study's store: seconds, memory and requests to open it.

    python tests/benchmarks/bench_store.py [--runs 10000] [--folder /tmp/bench-store]

The store is simulated: runs of a grid, 5 scored epochs, 10 benchmarks, gathered as `scaling run` leaves it. It is
opened in a process of its own, from the folder and from an S3 server on the loopback (moto's).
CPU seconds are of the opening process; wall seconds depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from scaling.journal import ROWS
from scaling.ledger import open_study
from scaling.place import Place
from scaling.records import AlignmentRecord, EpochRecord, ResultsStore, RunRecord, run_record
from scaling.rows import table_of
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study, parse_study

EPOCHS = 5
BENCHMARKS = [
    "simulated-ventral-stream.V1", "simulated-ventral-stream.V2", "simulated-ventral-stream.V4",
    "simulated-ventral-stream.IT", "simulated-ventral-stream.behavior", "kriegeskorte2008.human-IT",
    "majajhong2015.V4", "majajhong2015.IT", "freemanziemba2013.V1", "freemanziemba2013.V2",
]  # fmt: skip
LAYERS = {f"layer{stage}.{block}": 0.1 * stage + 0.01 * block for stage in range(1, 5) for block in range(2)}


def large_study(n_runs: int, **changes: object) -> StudySpec:
    """A grid of 10 sizes, 10 data sizes and as many seeds as are needed."""
    every = list(range(1, EPOCHS + 1))
    return parse_study({
        "name": "large", "dataset": "digits",
        "models": [{"family": "resnet", "depth": 10, "sizes": list(range(2, 22, 2))}],
        "data_sizes": list(range(2, 12)), "seeds": list(range(-(-n_runs // 100))),
        "training": {"epochs": EPOCHS, "batch_size": 10, "lr": 0.05}, "benchmarks": BENCHMARKS,
        "checkpoints": {"keep": every, "score": every}, **changes,
    })  # fmt: skip


def ended_run(run: RunSpec, number: int) -> RunRecord:
    n, size = (run.images_per_class or 0) * 10, int(run.model.size)
    return run_record(
        run, "finished", None, kept=tuple(range(1, EPOCHS + 1)), n_params=1000 * size**2, n_samples=n,
        samples_seen=EPOCHS * n,
        flops=6e3 * size**2 * EPOCHS * n, flops_per_image=2e3 * size**2, epochs_done=EPOCHS, loss=1.5, accuracy=0.5,
        train_s=10.0, started_at=1.7e9 + number, ended_at=1.7e9 + number + 10, image_size=8, images_per_s=100.0,
        flops_per_s=1e9, compute_share=0.9, n_skipped=0, flops_spent=6e3 * size**2 * EPOCHS * n,
    )  # fmt: skip


def epochs_of(record: RunRecord) -> list[EpochRecord]:
    return [
        EpochRecord(
            run_id=record.run_id, epoch=epoch, samples_seen=epoch * (record.n_samples or 0), flops=1e6 * epoch,
            loss=2.0 / epoch, lr=0.05, accuracy=0.1 * epoch, epoch_s=2.0, images_per_s=100.0, compute_share=0.9,
            ended_at=(record.started_at or 0) + 2 * epoch,
        )
        for epoch in range(1, EPOCHS + 1)
    ]  # fmt: skip


def scores_of(record: RunRecord, rng: np.random.Generator) -> list[AlignmentRecord]:
    level = 0.6 - (record.n_params or 1) ** -0.2 - (record.n_samples or 1) ** -0.5
    return [
        AlignmentRecord(
            run_id=record.run_id, epoch=epoch, samples_seen=epoch * (record.n_samples or 0), flops=1e6 * epoch,
            accuracy=0.1 * epoch, benchmark=name, region=name.rpartition(".")[2].removeprefix("human-"),
            metric="ridge", layer="layer4.0", commitment="split", raw=score * 0.8, raw_error=0.01, raw_low=0.1,
            raw_high=0.9, ceiling=0.8, ceiling_kind="split_half", score=score, n_stimuli=150, n_neuroids=48,
            selection_raw=0.7, selection_leak=0.0, protocol="split; own; none; 8 deg", status="scored", reason=None,
            score_s=0.2, layer_scores=json.dumps({layer: value + score for layer, value in LAYERS.items()}),
        )
        for epoch in range(1, EPOCHS + 1)
        for name in BENCHMARKS
        for score in [level + 0.02 * epoch + 0.01 * rng.normal()]
    ]  # fmt: skip


def scores_table(records: list[RunRecord], rng: np.random.Generator) -> pa.Table:
    """Rows as of `scores_of`, of many runs at once."""
    like = table_of(AlignmentRecord, scores_of(records[0], rng))
    table, n = pa.concat_tables([like] * len(records)).combine_chunks(), like.num_rows
    level = [0.6 - (record.n_params or 1) ** -0.2 - (record.n_samples or 1) ** -0.5 for record in records]
    score = np.repeat(level, n) + 0.02 * table["epoch"].to_numpy() + 0.01 * rng.normal(size=table.num_rows)
    own = {
        "run_id": [record.run_id for record in records for _ in range(n)], "score": score, "raw": 0.8 * score,
        "samples_seen": np.repeat([record.n_samples or 0 for record in records], n) * table["epoch"].to_numpy(),
        "layer_scores": [json.dumps({layer: value + one for layer, value in LAYERS.items()}) for one in score],
    }  # fmt: skip
    for name, values in own.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    return table


def parts(items: list[RunRecord], size: int) -> Iterator[list[RunRecord]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def write_store(storage: Storage, records: list[RunRecord]) -> None:
    """As `gather` would leave it."""
    store, rng = ResultsStore(storage), np.random.default_rng(0)
    rows = EPOCHS * len(BENCHMARKS)
    records = sorted(records, key=lambda record: record.run_id)
    for number, part in enumerate(parts(records, ROWS), start=1):
        store._runs._write_gathered(table_of(RunRecord, part), number)
    for number, part in enumerate(parts(records, ROWS // rows), start=1):
        store._scores._write_gathered(scores_table(part, rng), number)
    for number, part in enumerate(parts(records, ROWS // EPOCHS), start=1):
        store._epochs._write_gathered(table_of(EpochRecord, [epoch for r in part for epoch in epochs_of(r)]), number)


def open_it(place: str, n_runs: int) -> None:
    """In a process of its own: from the study's description to its open work and its table."""
    spec, marks = large_study(n_runs), [("", time.process_time(), time.monotonic())]

    def mark(what: str) -> None:
        marks.append((what, time.process_time(), time.monotonic()))

    study = open_study(spec, place)
    mark("expand the grid")
    records = study.records
    mark("read runs")
    work = study.open_work()
    mark("read scores, find open work")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    frame = study.table()
    mark("table")
    assert len(records) == n_runs, len(records)
    assert work.is_empty
    assert len(frame) == n_runs * len(BENCHMARKS)
    for (_, cpu, wall), (what, cpu_after, wall_after) in pairwise(marks):
        print(f"  {what:<28} {cpu_after - cpu:6.2f} CPU s {wall_after - wall:7.2f} s")
    print(f"  memory when open             {peak:6.2f} GB", flush=True)


def opened(place: str, n_runs: int) -> None:
    subprocess.run([sys.executable, __file__, "--open", place, "--runs", str(n_runs)], check=True)


def bench_store(folder: Path, n_runs: int) -> None:
    from moto_bucket import MotoBucket

    records = [ended_run(run, number) for number, run in enumerate(expand_study(large_study(n_runs)))]
    local = Storage(folder).child("large")
    local.delete_folder("")
    write_store(local, records)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 1e6
    files = len(list(folder.rglob("*.parquet")))
    what = f"{len(records):,} runs x {EPOCHS} epochs x {len(BENCHMARKS)} benchmarks (simulated)"
    print(f"{what}: {files} files, {size:.0f} MB")
    print("from the local disk")
    opened(str(folder), len(records))
    bucket = MotoBucket()
    remote = Storage(Place.of(bucket.uri).child("large"))
    for path in folder.rglob("*.parquet"):
        remote.write_bytes(str(path.relative_to(folder / "large")), path.read_bytes())
    print("from S3 (moto on the loopback)")
    with bucket.counted() as requests:
        opened(bucket.uri, len(records))
    print(f"  requests                     {len(requests):6d}", flush=True)
    bucket.stop()


def bench_gather(folder: Path, n_runs: int) -> None:
    """What it costs the driver to gather runs that have ended."""
    records = [ended_run(run, number) for number, run in enumerate(expand_study(large_study(n_runs))[:n_runs])]
    store, rng = ResultsStore(Storage(folder)), np.random.default_rng(0)
    for record in records:
        store.write_run(record)
        store.write_epochs(epochs_of(record))
        scores = scores_of(record, rng)
        for epoch in range(1, EPOCHS + 1):
            store.write_scores([score for score in scores if score.epoch == epoch])
    began, files = time.process_time(), (2 + EPOCHS) * len(records)
    store.gather()
    print(f"gather {len(records)} ended runs ({files} files): {time.process_time() - began:.2f} CPU s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench-store"))
    parser.add_argument("--open", dest="place", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.place is not None:
        open_it(given.place, given.runs)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    bench_store(given.folder / "store", given.runs)
    bench_gather(given.folder / "gather", 100)


if __name__ == "__main__":
    main()
