"""A group that follows its cluster, on real raylets: a node is lost, another one comes, and the losses are the same."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import ray.train

from scaling.cluster.offers import LongestFirst
from scaling.cluster.room import Room
from scaling.cluster.session import cluster_nodes, ray_session
from scaling.data.image_set import ImageData
from scaling.data.image_source import ImageSource, image_source
from scaling.records import ResultsStore
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.train.loop import train_run

VIT = {"family": "vit", "depth": 4, "heads": 4, "sizes": [48]}
TRAINING = {"epochs": 250, "batch_size": 50, "lr": 0.05, "warmup_epochs": 1}


@dataclass(frozen=True)
class Noting:
    """Images whose every opening notes how many workers there are."""

    source: ImageSource
    notes: Path

    def open(self) -> ImageData:
        with self.notes.open("a") as file:
            file.write(f"{ray.train.get_context().get_world_size()}\n")
        return self.source.open()


class Heard:
    """Takes a node away after some epochs, and brings another one."""

    def __init__(self, cluster: Any, node: Any, notes: Path) -> None:
        self.cluster, self.node, self.notes, self.done = cluster, node, notes, 0
        self.ends: list[str | None] = []

    def on_epochs(self, run: RunSpec, records: Any) -> None:
        self.done = max([self.done, *(record.epoch for record in records)])
        if self.done >= 5 and self.node is not None:
            node, self.node = self.node, None
            threading.Thread(target=self._replace, args=(node,), daemon=True).start()

    def _replace(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)
        while "1" not in self.notes.read_text().split():
            time.sleep(0.2)
        self.cluster.add_node(num_cpus=1)

    def on_end(self, run: RunSpec, error: str | None) -> None:
        self.ends.append(error)

    def on_start(self, run: RunSpec) -> None: ...
    def on_steps(self, run: RunSpec, images: float, seconds: float) -> None: ...
    def on_tick(self) -> None: ...


@pytest.mark.campaign
def test_a_lost_node_shrinks_the_run_and_a_regained_one_grows_it(make_study, tmp_path) -> None:
    from ray.cluster_utils import Cluster

    from scaling.cluster.schedule import train_runs

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    study = make_study(models=[VIT], data_sizes=[60], training=TRAINING, resources={"workers": [1, 2]})
    (run,) = expand_study(study)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    storage, notes = Storage(tmp_path / "elastic"), tmp_path / "notes"
    source = image_source(study.dataset, tmp_path).pinned()
    try:
        cluster.add_node(num_cpus=1)
        heard = Heard(cluster, cluster.add_node(num_cpus=1), notes)
        with ray_session(cluster.address, False):
            room = Room(cluster_nodes, ScoringSpec(cpus=0))
            train_runs(LongestFirst([run], {run.run_id: 1.0}), [run], Noting(source, notes), storage, heard, room)
    finally:
        cluster.shutdown()
    assert heard.ends == [None]
    assert list(dict.fromkeys(notes.read_text().split())) == ["2", "1"]
    sizes = notes.read_text().split()
    assert sizes == ["2", "2", "1", "2", "2"], "two workers, one, and two again"
    alone = Storage(tmp_path / "alone")
    expected = [record.loss for record in train_run(run, source.open(), alone)]
    found = [record.loss for record in ResultsStore(storage).read_epochs(run.run_id)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert ResultsStore(storage).read_run(run.run_id).status == "finished"
