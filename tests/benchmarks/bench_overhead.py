"""What scheduling costs: the quickstart by `scaling run`, as bare PyTorch in one process, and by the stock pattern.

    python tests/benchmarks/bench_overhead.py [--epochs 40]

Prints one table. busy = seconds in training and scoring; slots = CPUs; use = busy / (wall x slots), start-up counted.
The stock pattern is a Tune function that starts a TorchTrainer for every trial, on the four smallest runs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from scaling.data.image_source import ImageSource
from scaling.records import ResultsStore, RunRecord
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study, load_study

QUICKSTART = Path(__file__).parents[2] / "jobs/studies/quickstart.yaml"
STOCK_RUNS = 4


def bare(study: StudySpec, folder: Path) -> float:
    """Every run trained and scored one after another in this process; seconds, imports and data left out."""
    from scaling.alignment.score import score_checkpoint
    from scaling.alignment.suites.registry import build_benchmarks
    from scaling.data.images import load_images
    from scaling.data.recordings.stimuli import select_stimuli
    from scaling.train.loop import Training

    data = load_images(study.dataset, folder)
    stimuli = select_stimuli(data.heldout.images, data.heldout.labels)
    benchmarks = build_benchmarks(study.benchmarks, stimuli, None)
    storage = Storage(folder / "bare")
    began = time.monotonic()
    for run in expand_study(study):
        for _ in Training(run, data, storage).epochs():
            pass
        score_checkpoint(storage, run.run_id, run.training.epochs, benchmarks)
    return time.monotonic() - began


def ours(path: Path, folder: Path) -> tuple[float, float, float]:
    """(wall seconds of the whole command, busy seconds, seconds around a run once the slots are warm)."""
    began = time.monotonic()
    command = [sys.executable, "-m", "jobs.cli", "run", str(path), "--storage", str(folder / "ours")]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall = time.monotonic() - began
    ray_s = float(re.findall(r"· (\d+) s\n", said)[-1])
    print(f"of {wall:.0f} s: {ray_s:.0f} s with Ray up; imports, Ray's start and laws {wall - ray_s:.0f} s")
    store = ResultsStore(Storage(folder / "ours/quickstart"))
    records = list(store.read_runs().values())
    score_s = sum(score.score_s for score in store.read_scores())
    return wall, sum(record.train_s or 0.0 for record in records) + score_s, cost_around(records)


def cost_around(records: list[RunRecord]) -> float:
    """Mean seconds between the end of a run and the training of the next in its slot, building the model included.

    A run is matched with the latest end before its start that no other run follows; first runs of a slot have none.
    """
    ends: list[float] = []
    costs = []
    for record in sorted(records, key=lambda record: record.started_at or 0.0):
        started, ended = record.started_at or 0.0, record.ended_at or 0.0
        before = [end for end in ends if end <= started]
        if before:
            ends.remove(max(before))
            costs.append(started - max(before) + (ended - started) - (record.train_s or 0.0))
        ends.append(ended)
    return sum(costs) / len(costs)


def stock(runs: list[RunSpec], folder: Path) -> tuple[float, float]:
    """(wall seconds, training seconds) of a Tune function that launches a one-worker TorchTrainer a trial."""
    from scaling.cluster.session import ray_session
    from scaling.data.image_source import image_source

    storage = Storage(folder / "stock")
    with ray_session(None, dashboard=True):
        from ray import tune
        from ray.tune.integration.ray_train import TuneReportCallback

        from scaling.cluster.distributed import train_group
        from scaling.cluster.trial import GROUP_SHARE, HEAD

        def launch(config: dict[str, Any], source: ImageSource, storage_uri: str) -> None:
            run = RunSpec.model_validate(config["run"])
            train_group(run, source, Storage(storage_uri), [TuneReportCallback()])

        source = image_source(runs[0].dataset, folder, folder / "cache").pinned()
        began = time.monotonic()
        function = tune.with_parameters(launch, source=source, storage_uri=storage.uri)
        tune.Tuner(
            tune.with_resources(function, tune.PlacementGroupFactory([{HEAD: GROUP_SHARE}])),
            param_space={"run": tune.grid_search([run.model_dump(mode="json") for run in runs])},
            tune_config=tune.TuneConfig(max_concurrent_trials=slots()),
            run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
        ).fit()
        wall = time.monotonic() - began
    records = ResultsStore(storage).read_runs()
    assert len(records) == len(runs), "the stock pattern lost a run"
    return wall, sum(record.train_s or 0.0 for record in records.values())


def slots() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=None, help="shorter runs than the quickstart's own")
    epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = yaml.safe_load(QUICKSTART.read_text())
        content["training"] |= {"epochs": epochs} if epochs else {}
        path = folder / "quickstart.yaml"
        path.write_text(yaml.safe_dump(content))
        study = load_study(path)
        report(study, ours(path, folder), bare(study, folder), folder)


def report(study: StudySpec, mine: tuple[float, float, float], bare_s: float, folder: Path) -> None:
    wall, busy, around = mine
    runs = sorted(expand_study(study), key=lambda run: (run.images_per_class or 10**9, run.model.size))[:STOCK_RUNS]
    stock_wall, stock_train = stock(runs, folder)
    stock_around = (stock_wall * slots() - stock_train) / len(runs)
    n = len(expand_study(study))
    table = Table(title=f"{n} runs, {slots()} slots", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "runs", "wall, s", "busy, s", "use of slots", "around a run, s"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("bare PyTorch, one process", str(n), f"{bare_s:.0f}", f"{bare_s:.0f}", "", "0")
    table.add_row(
        "scaling run", str(n), f"{wall:.0f}", f"{busy:.0f}", f"{busy / (wall * slots()):.2f}", f"{around:.2f}"
    )
    table.add_row(
        "Tune function -> TorchTrainer", str(len(runs)), f"{stock_wall:.0f}", f"{stock_train:.0f}",
        f"{stock_train / (stock_wall * slots()):.2f}", f"{stock_around:.1f}",
    )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    console.print(f"speed-up over one bare process: {bare_s / wall:.2f} of {slots()}", highlight=False)
    console.print(f"bare work / (wall x slots): {bare_s / (wall * slots()):.2f}", highlight=False)
    console.print(f"around a run, stock / ours: {stock_around / max(around, 0.01):.0f}x", highlight=False)


if __name__ == "__main__":
    main()
