"""Studies in a bucket, on a cluster of real raylets, through random faults: nothing is lost, the tables are the same.

    python -m pytest tests/campaign -s [--faults 50] [--fault-seed 0]

Whatever ends the driver, the same command is given again, and nothing else is done by hand. A head or a server that was
killed comes back, as its operator would see to. A study that ends before all faults were met is followed by another.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from site_of_faults import RECONNECT, SCORES, TRAINS, Site
from tests_jobs import KEYS, results, scaling, start_scaling, without_times

from scaling.layout import RUNS
from scaling.place import Place
from scaling.storage import Storage

EPOCHS, SIZES, DATA_SIZES = 12, [2, 4], [30, 70]
GRID: dict[str, Any] = {
    "dataset": "digits",
    "benchmarks": ["simulated-ventral-stream.IT"],
    "models": [
        {"family": "resnet", "depth": 10, "sizes": SIZES, "training": {"lr": 0.05}},
        {"family": "alexnet", "sizes": SIZES, "training": {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.01}},
    ],
    "data_sizes": DATA_SIZES,
    "training": {"epochs": EPOCHS, "batch_size": 16, "warmup_epochs": 2},
    "checkpoints": {"score": [6, "last"]},
    "scoring": {"cpus": 1},  # not at low priority, which a machine with other work starves
}
N_RUNS = 2 * len(SIZES) * len(DATA_SIZES)
SHARES = {
    "training process": 14, "scoring actor": 10, "driver": 7, "raylet": 8, "head": 3,
    "MLflow server": 4, "S3 server": 4,
}  # fmt: skip
STEP_S = (0.0, 10.0)  # between a fault and the next
AGAIN = {0: "done", 1: "incomplete, or its cluster is gone", 2: "a server is away at its start", -9: "killed"}
STUDY_S = 3600.0  # a study that does not end within so long is lost


def faults(n: int, rng: random.Random) -> list[str]:
    """Kinds of fault in their order, as often as their shares say, each at least once."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(max(1, round(n * share / sum(SHARES.values()))))]
    rng.shuffle(kinds)
    return kinds


class Campaign:
    """One study after another, kept running by the same command, until all faults were met and the last study is done.

    Attributes:
        met: faults so far. ends: of the driver, by exit status. studies: names of those that are done.
    """

    def __init__(self, site: Site, folder: Path, kinds: list[str], rng: random.Random) -> None:
        self._site, self._folder, self._kinds, self._rng = site, folder, kinds, rng
        self.met: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()
        self.studies: list[str] = []
        self._ended: dict[str, float] = {}  # of the present study: when each finished run ended
        self._driver: subprocess.Popen[bytes] | None = None
        self._hit: dict[str, Callable[[], bool]] = {
            "training process": lambda: site.kill_process(TRAINS),
            "scoring actor": lambda: site.kill_process(SCORES),
            "driver": self._kill_driver,
            "raylet": site.lose_node,
            "head": lambda: site.lose_head(self._running),
            "MLflow server": site.lose_mlflow,
            "S3 server": site.lose_bucket,
        }

    @property
    def name(self) -> str:
        return f"campaign-{len(self.studies) + 1}"

    @property
    def storage(self) -> Storage:
        return Storage(Place.of(self._site.bucket.uri).child(self.name))

    def table_file(self, study: str, folder: str) -> Path:
        """Where the table of a study that is done was copied to."""
        return self._folder / f"{study}-{folder}.parquet"

    def _table(self, folder: str) -> pd.DataFrame:
        return pd.read_parquet(self.storage.path(folder), filesystem=self.storage.filesystem)

    def told(self) -> str:
        """The figures."""
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(self.met.items()))
        ends = ", ".join(f"{AGAIN.get(status, status)} {count}" for status, count in sorted(self.ends.items()))
        done = f"{len(self.studies)} studies of {N_RUNS} runs done"
        return f"{self.met.total()} faults ({counts}); {done}; ends of the driver: {ends}"

    def stop(self) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()

    def run(self) -> None:
        self._begin()
        while self._keep_going():
            time.sleep(1)
            if self._kinds and self._site.processes(TRAINS):
                time.sleep(self._rng.uniform(*STEP_S))
                self._next_fault()

    def _next_fault(self) -> None:
        """The first of the kinds that is there to be hit: without a scoring actor, none is killed."""
        for kind in self._kinds:
            if self._running.poll() is None and self._hit[kind]():
                self._kinds.remove(kind)
                self.met[kind] += 1
                print(f"{time.strftime('%H:%M:%S')} {self.met.total():3d} {kind} ({self.name})", flush=True)
                return

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._driver is not None
        return self._driver

    def _kill_driver(self) -> bool:
        self._running.kill()
        return True

    def _begin(self) -> None:
        self._file = write_study(self._folder, self.name, mlflow=self._site.mlflow_uri)
        self._began, self._ended = time.monotonic(), {}
        self._start()

    def _start(self) -> None:
        log = self._folder / f"{self.name}-{self.ends.total()}.log"
        os.environ |= RECONNECT
        self._driver = start_scaling("run", self._file, *self._options(), cwd=self._folder, log=log)
        self._log = log

    def _options(self) -> list[str]:
        return ["--storage", str(self._site.bucket.uri), "--address", self._site.address]

    def _keep_going(self) -> bool:
        """Give the same command again where the driver has ended; False: there is nothing left to do."""
        assert time.monotonic() - self._began < STUDY_S, f"{self.name} does not end: {self._log.read_text()[-3000:]}"
        status = self._running.poll()
        if status is None:
            return True
        self.ends[status] += 1
        assert "View run" not in self._log.read_text(), "MLflow prints between the lines of the progress"
        assert status in AGAIN, f"the driver ended with {status}: {self._log.read_text()[-3000:]}"
        if status == 0:
            return self._next_study()
        self._check_ended()
        if status == 2:
            time.sleep(10)
        self._start()
        return True

    def _next_study(self) -> bool:
        self._check_ended()
        self._site.wait_for_mlflow()
        again = scaling("run", self._file, *self._options(), cwd=self._folder)  # what MLflow lacks
        assert again.returncode == 0, again.stdout
        self._check_ended()
        for folder in KEYS:
            self._table(folder).to_parquet(self.table_file(self.name, folder))
        self.studies.append(self.name)
        if self._kinds:
            self._begin()
        return bool(self._kinds)

    def _check_ended(self) -> None:
        """No run that had finished was trained again."""
        now = finished(self._table(RUNS)) if self.storage.names(RUNS) else {}
        assert {run_id: now.get(run_id) for run_id in self._ended} == self._ended
        self._ended = now


def write_study(folder: Path, name: str, **more: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(GRID | {"name": name} | more))
    return path


def finished(runs: pd.DataFrame) -> dict[str, float]:
    """When each finished run ended, by its id."""
    runs = runs.query("status == 'finished'")
    return dict(zip(runs.run_id, runs.ended_at, strict=True))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The tables of the same study on a local disk, which met no fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write_study(folder, "campaign-0")
    done = scaling("run", path, "--no-mlflow", cwd=folder, timeout_s=3600)
    assert done.returncode == 0, done.stdout
    return results(folder / "results/campaign-0")


@pytest.fixture(scope="module")
def campaign(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, undisturbed: dict[str, pd.DataFrame]
) -> Iterator[tuple[Campaign, Site]]:
    n, seed = request.config.getoption("--faults"), request.config.getoption("--fault-seed")
    rng, folder, began = random.Random(seed), tmp_path_factory.mktemp("campaign"), time.monotonic()
    site = Site(folder, rng)
    try:
        run = Campaign(site, folder, faults(n, rng), rng)
        try:
            run.run()
        finally:
            run.stop()
            print(f"seed {seed}: {run.told()}; {time.monotonic() - began:.0f} s", flush=True)
        yield run, site
    finally:
        site.stop()


def test_all_faults_were_met_and_all_studies_ended(campaign: tuple[Campaign, Site], request: Any) -> None:
    run, _ = campaign
    assert run.met.total() >= request.config.getoption("--faults")
    assert set(run.met) == set(SHARES)
    assert run.studies


def test_no_run_is_lost_and_the_tables_are_the_undisturbed_ones(
    campaign: tuple[Campaign, Site], undisturbed: dict[str, pd.DataFrame]
) -> None:
    run, _ = campaign
    for name in run.studies:
        for folder in KEYS:
            found = pd.read_parquet(run.table_file(name, folder))
            if folder == RUNS:
                assert list(found.status) == ["finished"] * N_RUNS
                found = found.assign(
                    study="campaign-0", spec=found.spec.str.replace(f'"study":"{name}"', '"study":"campaign-0"')
                )
            pd.testing.assert_frame_equal(
                without_times(folder, found), undisturbed[folder], check_exact=True, check_dtype=False
            )


def test_mlflow_has_every_epoch_of_every_run_and_the_times_of_the_store(campaign: tuple[Campaign, Site]) -> None:
    run, site = campaign
    client = MlflowClient(site.mlflow_uri)
    for name in run.studies:
        experiment = client.get_experiment_by_name(name)
        children = client.search_runs([experiment.experiment_id], "tags.`scaling.kind` = 'run'")
        assert [child.info.status for child in children] == ["FINISHED"] * N_RUNS
        ended = finished(pd.read_parquet(run.table_file(name, RUNS)))
        for child in children:
            assert child.info.start_time <= child.info.end_time
            assert child.info.end_time == pytest.approx(1000 * ended[child.data.params["run_id"]], abs=1000)
            steps = [metric.step for metric in client.get_metric_history(child.info.run_id, "loss")]
            assert sorted(steps) == list(range(1, EPOCHS + 1))
            assert len(client.get_metric_history(child.info.run_id, "IT")) == 2
