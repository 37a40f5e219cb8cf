"""What a study of many runs costs Ray Tune: seconds until the first run starts, a run's share, the driver's memory.

    python tests/benchmarks/bench_tuner.py [--runs 10000] [--ended 500]

The queue and the Tuner are those of `scaling run`; what a trial runs is trivial (its first step ends it). Beside it,
Tune given all specs as a grid, which it resolves one by one, at two numbers of runs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune

from scaling.cluster import schedule
from scaling.cluster.offers import LongestFirst
from scaling.cluster.room import Room
from scaling.cluster.session import cluster_nodes, ray_session
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec
from scaling.storage import Storage
from scaling.study import expand_study, parse_study

GRIDS = (100, 400)
MIB = 2**10  # of ru_maxrss, which is in KiB


class Trivial(tune.Trainable):
    """In place of `trial.StudyTrial`: a run that ends with its first step."""

    def setup(self, config: dict[str, Any], specs: Any, source: Any, storage_uri: str, max_failures: int) -> None:
        assert config["run"] in specs

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {"done": True}


class Enough(Exception):
    """Ends the study after some runs."""


class Heard:
    """When runs started and ended."""

    def __init__(self, enough: int) -> None:
        self.enough, self.began = enough, time.monotonic()
        self.first: float | None = None
        self.ended = 0

    def on_start(self, run: RunSpec) -> None:
        self.first = self.first or time.monotonic() - self.began

    def on_end(self, run: RunSpec, error: str | None) -> None:
        assert error is None, error
        self.ended += 1
        if self.ended >= self.enough:
            raise Enough

    def on_epochs(self, run: RunSpec, records: Any) -> None: ...
    def on_steps(self, run: RunSpec, images: float, seconds: float) -> None: ...
    def on_tick(self) -> None: ...


def study_of(n: int) -> list[RunSpec]:
    study = {"name": "many", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4]}],
             "data_sizes": [2, 3, 4, 5, 6], "seeds": list(range(n // 10)), "training": {"epochs": 1, "batch_size": 10},
             "benchmarks": ["simulated-ventral-stream.IT"]}  # fmt: skip
    return expand_study(parse_study(study))


def queue(runs: list[RunSpec], ended: int, folder: Path) -> Heard:
    schedule.StudyTrial = Trivial  # type: ignore[misc, assignment]
    offers = LongestFirst(runs, {run.run_id: float(i) for i, run in enumerate(runs)})
    room, heard = Room(cluster_nodes, ScoringSpec(cpus=0)), Heard(ended)
    with suppress(Enough):
        schedule.train_runs(offers, runs, None, Storage(folder / "queue"), heard, room)  # type: ignore[arg-type]
    return heard


def grid(runs: list[RunSpec]) -> float:
    """Seconds in which Tune resolves a grid of specs, with no trial run."""
    from ray.tune.search import BasicVariantGenerator

    experiment = tune.Experiment("grid", lambda config: None, config={
        "run": tune.grid_search([run.model_dump(mode="json") for run in runs])
    })  # fmt: skip
    search = BasicVariantGenerator()
    began = time.monotonic()
    search.add_configurations([experiment])
    while search.next_trial() is not None:
        pass
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--ended", type=int, default=500, help="runs after which to stop")
    options = parser.parse_args()
    began = time.monotonic()
    runs = study_of(options.runs)
    print(f"{len(runs):,} runs expanded in {time.monotonic() - began:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as name, ray_session(None, dashboard=False):
        heard = queue(runs, options.ended, Path(name))
        seconds = time.monotonic() - heard.began
        assert heard.first is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
        each = 1000 * (seconds - heard.first) / heard.ended
        print(f"queue: first run after {heard.first:.1f} s, {heard.ended} trivial runs {each:.0f} ms each", flush=True)
        print(f"driver: {peak:,.0f} MiB", flush=True)
        for n in GRIDS:
            took = grid(runs[:n])
            print(f"a grid of specs: {n} resolved in {took:.1f} s, {1000 * took / n:.1f} ms each", flush=True)


if __name__ == "__main__":
    main()
