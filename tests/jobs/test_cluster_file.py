"""cluster.yaml is accepted by Ray's own validator, and its types fit what studies ask for."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


def test_it_is_valid_by_rays_own_schema() -> None:
    jsonschema.validate(CLUSTER, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [(("max_worker",), 3), (("max_workers",), "many"), (("docker", "images"), "ray"), (("setup_commands",), "pip"),
     (("available_node_types", "head", "resource"), {"CPU": 0})],
)  # fmt: skip
def test_the_schema_refuses_slips(path: tuple[str, ...], value: object) -> None:
    broken = copy.deepcopy(CLUSTER)
    below = broken
    for name in path[:-1]:
        below = below[name]
    below[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


def test_ray_accepts_the_cluster_file() -> None:
    validate_config(prepare_config(CLUSTER))


def test_the_head_runs_no_tasks_and_every_start_asks_for_the_token() -> None:
    types = CLUSTER["available_node_types"]
    assert types[CLUSTER["head_node_type"]]["resources"]["CPU"] == 0
    assert all("GPU" in kind["resources"] for name, kind in types.items() if name != "head")
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in CLUSTER[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert any("--shm-size" in option for option in CLUSTER["docker"]["run_options"])
