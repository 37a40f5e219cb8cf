"""Where a study stands, and MLflow's UI on its store."""

from __future__ import annotations

import os
import subprocess
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.run import study_storage
from scaling.errors import StudyError
from scaling.ledger import OpenWork, open_work
from scaling.records import ResultsStore, RunRecord
from scaling.specs.study import StudySpec
from scaling.study import expand_study
from scaling.tracking import tracking_uri


def print_status(study: StudySpec, console: Console) -> None:
    """One line a run that is not finished and scored, and the counts."""
    store = ResultsStore(study_storage(study))
    runs = expand_study(study)
    records = store.read_runs(run.run_id for run in runs)
    work = open_work(study, store)
    states = {run.run_id: _state(run.run_id, records.get(run.run_id), work) for run in runs}
    table = Table("run", "what", "state", "reason", box=box.SIMPLE_HEAD)
    for run in runs:
        if states[run.run_id] != "finished":
            record = records.get(run.run_id)
            table.add_row(run.run_id, run.label(), states[run.run_id], (record and record.reason) or "")
    if table.row_count:
        console.print(table)
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    console.print(f"{study.name}: {len(runs)} runs: {summary}; {len(work.score)} checkpoints to score", highlight=False)


def _state(run_id: str, record: RunRecord | None, work: OpenWork) -> str:
    if record is None:
        return "open"
    if record.status == "out_of_memory":
        return "out of memory" + ("" if run_id in work.out_of_memory else ", to be trained again")
    to_be_scored = record.status == "finished" and any(run_id == other for other, _ in work.score)
    return "finished, to be scored" if to_be_scored else record.status


def serve_ui(study: StudySpec, port: int) -> int:
    """Run MLflow's server on the study's SQLite store until it is interrupted; its exit status.

    Raises:
        StudyError: the study is tracked by a server (open that), or has no store yet.
    """
    storage = study_storage(study)
    uri = tracking_uri(study, storage)
    if uri.startswith(("http://", "https://")):
        raise StudyError(f"study '{study.name}' is tracked at {uri}; open that address in a browser")
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise StudyError(f"study '{study.name}' has no MLflow store at {uri} yet; run it first: scaling run STUDY")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    print(f"MLflow UI for study '{study.name}': http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    try:
        return subprocess.call([*command, "--port", str(port), "--workers", "1"], env=environment)
    except KeyboardInterrupt:
        return 0
