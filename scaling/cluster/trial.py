"""What Ray Tune runs for any run of a study: one actor a trial, used again for the next run that reserves the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune

from scaling.cluster.distributed import Group
from scaling.cluster.lanes import Lane
from scaling.cluster.trainable import OwnProcess
from scaling.data.image_source import ImageSource
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec

HEAD = "node:__internal_head__"  # a resource that every Ray head has, 1.0: groups' trials run there and need no CPU
GROUP_SHARE = 0.001
AGAIN = "again"  # in a trial's config: it was started before
ALONE = "alone"  # in a trial's config: its last start, which no neighbour is to end


def trial_config(run: RunSpec) -> dict[str, Any]:
    """What Tune keeps of a run: its name and what it reserves. The specs themselves lie in Ray's object store."""
    return {"run": run.run_id, "resources": run.resources.model_dump(mode="json")}


def placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial reserves for itself: of many workers, which reserve their own places together, next to nothing."""
    shape = ResourceSpec.model_validate(config["resources"])
    if shape.most_workers > 1:
        return tune.PlacementGroupFactory([{HEAD: GROUP_SHARE}])
    bundle = {"CPU": float(shape.cpus_per_worker)}
    return tune.PlacementGroupFactory([bundle | ({"GPU": shape.gpus} if shape.gpus else {})])


class StudyTrial(tune.Trainable):
    """Trains one run after the other: here, in the process that runs of this GPU share, or by Ray Train's workers.

    Imports stay warm between runs.

    Args:
        specs: run_id -> JSON of the `RunSpec`. max_failures: see `distributed.Group`.
    """

    def setup(
        self, config: dict[str, Any], specs: Mapping[str, str], source: ImageSource, storage_uri: str,
        max_failures: int,
    ) -> None:  # fmt: skip
        self._specs, self._source, self._storage_uri = specs, source, storage_uri
        self._max_failures = max_failures
        self._trains = self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trains.close()
        self._trains = self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._trains.step()

    def cleanup(self) -> None:
        self._trains.close()

    def _begin(self, config: dict[str, Any]) -> OwnProcess | Lane | Group:
        run = RunSpec.model_validate_json(self._specs[config["run"]])
        if run.resources.most_workers > 1:
            return Group(run, self._source, self._storage_uri, self._max_failures)
        if run.resources.side_by_side:
            return Lane(run, bool(config.get(AGAIN)), bool(config.get(ALONE)))
        return OwnProcess(run, self._source, self._storage_uri)
