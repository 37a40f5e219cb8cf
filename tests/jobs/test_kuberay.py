"""jobs/kuberay/: the RayJob is one by KubeRay's own schema, and its image is pinned, small and not root's."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.main import get_command

from jobs.cli import app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "jobs" / "kuberay"
SCHEMA = Draft202012Validator(json.loads(Path(__file__).with_name("rayjob.schema.json").read_text()))


@pytest.fixture
def job() -> Any:
    return yaml.safe_load((FOLDER / "rayjob.yaml").read_text())


@pytest.fixture
def instructions() -> list[list[str]]:
    """Of the Dockerfile, lines that go on joined."""
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_rayjob_is_valid(job):
    assert [error.message for error in SCHEMA.iter_errors(job)] == []


def worker(job: Any) -> Any:
    return job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda job: job["spec"].pop("rayClusterSpec") and job["spec"].update(rayCluster={}), "rayCluster"),
        (lambda job: worker(job).update(maxReplica=3), "maxReplica"),
        (lambda job: worker(job).update(maxReplicas="12"), "'12' is not of type 'integer'"),
        (lambda job: worker(job)["rayStartParams"].update({"num-cpus": 12}), "12 is not of type 'string'"),
        (lambda job: worker(job)["template"]["spec"]["containers"][0].pop("name"), "'name' is a required property"),
        (lambda job: worker(job)["template"]["spec"]["volumes"][0].update(config={}), "'config'"),
        (lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="secret"), "'secret' is not one of"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_kubernetes_would(job: Any, change: Callable[[Any], Any], said: str):
    change(job)
    assert any(said in error.message for error in SCHEMA.iter_errors(job))


def test_its_entry_point_is_a_command_of_ours_and_all_that_it_names_is_mounted(job):
    program, command, *words = shlex.split(job["spec"]["entrypoint"])
    assert program == "scaling"
    given = get_command(app).commands[command].make_context(command, words).params
    assert given["storage"].startswith("s3://")
    for group in groups(job):
        (container,) = group["template"]["spec"]["containers"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(given["study"].parent), str(given["data_dir"]), str(given["cache_dir"])} <= mounts
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def groups(job: Any) -> list[Any]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_it_comes_back_has_a_token_and_no_tasks_on_its_head(job):
    """By KubeRay's own rules (validation.go): autoscaler v2 wants pods that do not restart, a token Ray 2.52."""
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "scaling-token"}
    assert cluster["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in groups(job):
        pod = group["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"]
    assert worker(job)["minReplicas"] == 0 < worker(job)["maxReplicas"]
    limits = worker(job)["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["cpu"] == worker(job)["rayStartParams"]["num-cpus"]
    assert int(limits["nvidia.com/gpu"]) > 0


def test_the_image_is_pinned_and_runs_as_nobody_in_particular(instructions, job):
    sources = [rest.split(" AS ")[0] for name, rest in instructions if name == "FROM"]
    assert len(sources) == 2
    assert all(re.fullmatch(r"python:[\w.-]+-slim-[\w-]+@\$\{PYTHON_DIGEST\}", source) for source in sources)
    assert ["ARG", "PYTHON_DIGEST"] in instructions, "the digest has no default"
    last = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
    assert [rest for name, rest in instructions[last:] if name == "USER"] == ["1000"]
    assert groups(job)[0]["template"]["spec"]["securityContext"]["runAsUser"] == 1000
    copied = [rest.split()[:-1] for name, rest in instructions[:last] if name == "COPY"]
    assert all((ROOT / path).exists() for paths in copied for path in paths)


def test_one_version_of_ray_stands_in_all_files(instructions, job):
    (version,) = [rest.partition("=")[2] for name, rest in instructions if rest.startswith("RAY_VERSION=")]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    assert f":{version}-" in cluster["docker"]["image"]
