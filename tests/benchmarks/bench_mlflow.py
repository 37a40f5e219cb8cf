"""What MLflow's mirror costs a run as the runs of a study become many.

    python tests/benchmarks/bench_mlflow.py [--runs 300 1000 3000] [--folder /tmp/bench-mlflow]

The runs are simulated: 5 epochs, each a kept checkpoint with 5 scores, in a SQLite store. Those that only have to be
there are copies of the first one's rows: its metrics, parameters and tags. CPU seconds are of this process; statements
are of SQL, and the same on any machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from bench_store import BENCHMARKS, EPOCHS, ended_run, epochs_of, large_study, scores_of

from scaling.layout import DATASET_FILE
from scaling.mlflow_store import connect
from scaling.records import AlignmentRecord, ResultsStore, RunRecord
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.study_log import RUN_TAG, StudyLog

SAMPLE = 20  # runs that are measured at each count
SCORED = BENCHMARKS[:5]


def count_statements() -> Counter[str]:
    """Counts SQL statements by their first word from now on."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    found: Counter[str] = Counter()

    @event.listens_for(Engine, "after_cursor_execute")
    def count(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        found[statement.split(None, 1)[0]] += 1

    return found


def mirror(log: StudyLog, run: RunSpec, record: RunRecord, scores: list[AlignmentRecord]) -> None:
    """All that MLflow hears of a run, as while it trains."""
    for epoch in epochs_of(record):
        log.log_epochs(run, [epoch])
        log.log_scores(run.run_id, run, [score for score in scores if score.epoch == epoch.epoch])
    log.log_run(record)


def copy_run(file: Path, source: str, names: list[str]) -> None:
    """MLflow's rows of a run again, as those of further runs of the study."""
    with sqlite3.connect(file) as store:
        for table in ("runs", "metrics", "latest_metrics", "params", "tags"):
            columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})") if row[1] != "run_uuid"]
            rest = ", ".join(f'"{column}"' for column in columns)
            copied = f"INSERT INTO {table} (run_uuid, {rest}) SELECT ?, {rest} FROM {table} WHERE run_uuid = ?"
            store.executemany(copied, [(name.ljust(32, "0"), source) for name in names])
        named = [(name, name.ljust(32, "0"), RUN_TAG) for name in names]
        store.executemany("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", named)


def bench(folder: Path, counts: list[int]) -> None:
    study = large_study(max(counts) + SAMPLE, mlflow=f"sqlite:///{folder}/mlflow.db", benchmarks=SCORED)
    storage, runs, rng = Storage(folder).child("large"), expand_study(study), np.random.default_rng(0)
    storage.write_bytes(DATASET_FILE, json.dumps({"dataset": "digits", "sha256": "0" * 64}).encode())
    store, statements, done = ResultsStore(storage), count_statements(), 0
    log = StudyLog(connect(study.mlflow or ""), study, storage)
    for count in sorted(counts):
        if done:
            copy_run(folder / "mlflow.db", log.children[runs[0].run_id].id, [run.run_id for run in runs[done:count]])
        began, before = time.process_time(), statements.total()
        log = StudyLog(connect(study.mlflow or ""), study, storage)
        print(
            f"{len(log.children):>6,} runs found again: {time.process_time() - began:.1f} s CPU, "
            f"{statements.total() - before} statements"
        )
        measured = [(run, ended_run(run, done)) for run in runs[count : count + SAMPLE]]
        scores = [[score for score in scores_of(record, rng) if score.benchmark in SCORED] for _, record in measured]
        for _, record in measured:
            store.write_epochs(epochs_of(record))
        began, before = time.process_time(), statements.total()
        for (run, record), own in zip(measured, scores, strict=True):
            mirror(log, run, record, own)
        spent = 1000 * (time.process_time() - began) / SAMPLE
        print(
            f"beside {count:>6,} runs: {spent:5.0f} ms CPU and {(statements.total() - before) / SAMPLE:.0f} statements "
            f"a run of {EPOCHS} epochs and checkpoints and {EPOCHS * len(SCORED)} scores",
            flush=True,
        )
        done = count + SAMPLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench-mlflow"))
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    bench(given.folder, [0, *given.runs])


if __name__ == "__main__":
    main()
