"""What MLflow's mirror costs a run as the runs of a study become many.

    python tests/benchmarks/bench_mlflow.py [--runs 300 1000 3000] [--folder /tmp/bench-mlflow]

The runs are simulated: 5 epochs, each a kept checkpoint with 5 scores, in a SQLite store. Those that only have to be
there have one epoch and no checkpoint. CPU seconds are of this process; statements are of SQL, and the same on any
machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
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
from scaling.study_log import StudyLog

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


def bench(folder: Path, counts: list[int]) -> None:
    study = large_study(max(counts), mlflow=f"sqlite:///{folder}/mlflow.db", benchmarks=SCORED)
    storage, runs, rng = Storage(folder).child("large"), expand_study(study), np.random.default_rng(0)
    storage.write_bytes(DATASET_FILE, json.dumps({"dataset": "digits", "sha256": "0" * 64}).encode())
    log, store, done = StudyLog(connect(study.mlflow or ""), study, storage), ResultsStore(storage), 0
    statements = count_statements()
    for count in sorted(counts):
        for run in runs[done : count - SAMPLE]:
            record = ended_run(run, done).model_copy(update={"kept_epochs": "[]"})
            store.write_epochs(epochs_of(record)[:1])
            log.log_run(record)
        measured = [(run, ended_run(run, done)) for run in runs[count - SAMPLE : count]]
        scores = [[score for score in scores_of(record, rng) if score.benchmark in SCORED] for _, record in measured]
        for _, record in measured:
            store.write_epochs(epochs_of(record))
        statements.clear()
        began = time.process_time()
        for (run, record), own in zip(measured, scores, strict=True):
            mirror(log, run, record, own)
        spent = 1000 * (time.process_time() - began) / SAMPLE
        print(
            f"with {count:>6,} runs: {spent:5.0f} ms CPU and {statements.total() / SAMPLE:.0f} statements a run of "
            f"{EPOCHS} epochs and checkpoints and {EPOCHS * len(SCORED)} scores",
            flush=True,
        )
        done = count
    statements.clear()
    began = time.process_time()
    again = StudyLog(connect(study.mlflow or ""), study, storage)
    spent = time.process_time() - began
    print(f"{len(again.children):,} runs found again: {spent:.1f} s CPU, {statements.total()} statements", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench-mlflow"))
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    bench(given.folder, given.runs)


if __name__ == "__main__":
    main()
