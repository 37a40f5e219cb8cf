"""Faults on a cluster of two nodes, the head of which has no CPUs: what each costs, and what is told before a run."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
import ray.train

from scaling.cluster.facts import look_on_a_node
from scaling.cluster.placement import Node
from scaling.cluster.room import Room
from scaling.cluster.session import cluster_nodes, growing_nodes, ray_session
from scaling.cluster.shared_storage import check_shared
from scaling.cluster.stopping import Stopped, StopSwitch, stop_switch
from scaling.data.image_set import ImageData
from scaling.data.image_source import ImageSource, image_source
from scaling.errors import StudyError
from scaling.ledger import open_study
from scaling.records import EpochRecord, ResultsStore
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec
from scaling.storage import Storage
from scaling.study import expand_study

ERRORS = {
    "bug": ValueError("a bug"),
    "device": RuntimeError("CUDA error: an illegal memory access was encountered"),
}


@pytest.fixture(scope="module")
def joined() -> Iterator[tuple[tuple[Node, ...], StopSwitch]]:
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=8)
        with stop_switch() as switch, ray_session(cluster.address, False, switch) as there:
            yield there, switch
    finally:
        cluster.shutdown()


@pytest.fixture
def nodes(joined) -> tuple[Node, ...]:
    return joined[0]


def test_sigterm_is_ours_though_ray_takes_it(joined):
    _, switch = joined
    with pytest.raises(Stopped, match="terminated: the same command goes on"):
        signal.raise_signal(signal.SIGTERM)
    switch.stopped = None


@dataclass(frozen=True)
class FaultySource:
    """Images whose opening is a fault of the process; notes each process that opens them.

    faults: run_id -> what happens, as often as it is said; then the images are opened. Runs of one worker meet the
    faults in their order, whatever their ids.
    """

    source: ImageSource
    folder: Path
    faults: dict[str, tuple[str, ...]]

    def open(self) -> ImageData:
        run_id, rank = self._who()
        notes = self.folder / f"{run_id}-{rank}"
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        fault = (*self.faults.get(run_id, ()), *[None] * 99)[len(notes.read_text().split()) - 1]
        if fault in ERRORS:
            raise ERRORS[fault]
        return self.source.open()

    def _who(self) -> tuple[str, int]:
        if "one worker" in self.faults:
            return "one worker", 0
        context = ray.train.get_context()
        return context.get_experiment_name()[:12], context.get_world_rank()

    def pids(self, run_id: str, rank: int) -> list[str]:
        return (self.folder / f"{run_id}-{rank}").read_text().split()


class Heard:
    """Counts starts; keeps how runs ended."""

    def __init__(self) -> None:
        self.starts: Counter[str] = Counter()
        self.ends: dict[str, str | None] = {}
        self.epochs: defaultdict[str, list[int]] = defaultdict(list)

    def on_start(self, run: RunSpec) -> None:
        self.starts[run.run_id] += 1

    def on_epochs(self, run: RunSpec, records: list[EpochRecord]) -> None:
        self.epochs[run.run_id] += [record.epoch for record in records]

    def on_steps(self, run: RunSpec, images: float, seconds: float) -> None: ...

    def on_end(self, run: RunSpec, error: str | None) -> None:
        self.ends[run.run_id] = error

    def on_tick(self) -> None: ...


def train(runs: list[RunSpec], source: FaultySource, storage: Storage, slots: int, max_failures: int) -> Heard:
    from scaling.cluster.offers import LongestFirst
    from scaling.cluster.schedule import train_runs

    heard = Heard()
    cost = {run.run_id: -float(i) for i, run in enumerate(runs)}
    room = Room(cluster_nodes, ScoringSpec(cpus=0), slots)
    train_runs(LongestFirst(runs, cost), runs, source, storage, heard, room, max_failures)
    return heard


def test_a_storage_that_nodes_share_passes_and_one_that_is_each_ones_own_does_not(nodes, tmp_path, monkeypatch):
    assert len(nodes) == 2
    storage = Storage(tmp_path / "shared")
    check_shared(storage, nodes)
    assert list((tmp_path / "shared").iterdir()) == [], "the probe is gone"
    monkeypatch.chdir(tmp_path)
    own = Storage("/proc/self/cwd/results")  # another place for each process
    with pytest.raises(StudyError) as error:
        check_shared(own, nodes)
    assert all(node.host in str(error.value) for node in nodes)
    assert "does not see what the driver wrote" in str(error.value)


def test_a_node_that_has_gone_is_named_within_the_time_limit(nodes, tmp_path):
    gone = Node("e" * 56, 4, host="gone (10.0.0.9)")
    with pytest.raises(StudyError, match=r"gone \(10.0.0.9\)"):
        check_shared(Storage(tmp_path), [*nodes, gone], time_limit_s=5)


def test_a_node_looks_at_the_images_and_its_refusals_are_told(nodes, make_study, tmp_path, digits_data):
    study = open_study(make_study(storage=str(tmp_path)))
    runs, source = study.runs, image_source(study.spec.dataset, tmp_path)
    facts = look_on_a_node(study, runs, source, print)
    assert (list(facts.cost), facts.source.digest) == ([runs[0].run_id], digits_data.digest())
    assert growing_nodes() == (), "no autoscaler"
    greedy = open_study(make_study(storage=str(tmp_path), data_sizes=[5000]))
    with pytest.raises(StudyError, match="exceeds the 142 training images"):
        look_on_a_node(greedy, greedy.runs, source, print)


def test_one_worker_goes_on_after_a_bug_and_gives_way_after_its_device_broke(nodes, make_study, tmp_path):
    study = make_study(seeds=[0, 1, 2])
    runs, storage = expand_study(study), Storage(tmp_path / "results")
    faults = ("device", "device", "bug")  # the first run is given up after two starts, the second has a bug
    source = FaultySource(image_source(study.dataset, tmp_path), tmp_path, {"one worker": faults})
    heard = train(runs, source, storage, slots=1, max_failures=1)
    first, second, third = (run.run_id for run in runs)
    broken, again, buggy, last = source.pids("one worker", 0)
    records = ResultsStore(storage).read_runs()
    assert (records[second].status, "ValueError: a bug" in records[second].reason) == ("failed", True)
    assert records[third].status == "finished"
    assert buggy == last, "a bug costs no process"
    assert len({broken, again, buggy}) == 3, "a broken device does"
    assert (heard.starts[first], heard.starts[second]) == (2, 1)
    assert "CUDA error" in heard.ends[first]
    assert "given up after 2 starts" in heard.ends[first]
    assert (heard.ends[second], heard.ends[third]) == (None, None)


@pytest.mark.campaign
def test_a_bug_of_many_workers_is_recorded_and_costs_one_start(nodes, make_study, tmp_path):
    (run,), storage = expand_study(make_study(resources={"workers": 2})), Storage(tmp_path / "results")
    source = FaultySource(image_source(run.dataset, tmp_path), tmp_path, {run.run_id: ("bug",) * 9})
    heard = train([run], source, storage, slots=1, max_failures=2)
    assert heard.starts == {run.run_id: 1}
    assert len(source.pids(run.run_id, 0)) == 1, "Ray Train starts nothing by itself either"
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.status, "ValueError: a bug" in record.reason) == ("failed", True)
    assert heard.ends == {run.run_id: None}
