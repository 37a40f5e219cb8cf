"""Ray used as it should be: shapes of runs side by side, jobs on a cluster, images shared without a copy."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests_jobs import descendants, results, scaling, wait_for, write_study

from scaling.data.image_source import ImageSource, image_source
from scaling.specs.dataset import DatasetSpec

ROOT = Path(__file__).parents[2]


def test_one_and_two_worker_runs_share_two_cpus(tmp_path: Path) -> None:
    path = write_study(tmp_path, "mixed_workers", data_sizes=[20])
    done = scaling("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    tables = results(tmp_path / "results/mixed-workers")
    assert set(tables["runs"].status) == {"finished"}
    assert sorted(tables["runs"].family) == ["resnet", "vit"]
    assert len(tables["scores"]) == 2 * 2
    untrained = tables["scores"].query("epoch == 0")
    assert (untrained.flops == 0).all()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A head node on loopback with a token of its own: (dashboard address, environment)."""
    port, dashboard = free_port(), free_port()
    tools = os.environ["PATH"] if shutil.which("ray") else f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PATH": tools}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
               "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
               "--num-cpus=2", "--disable-usage-stats"]  # fmt: skip
    log = tmp_path / "head.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for("the head node", lambda: "Ray runtime started" in log.read_text())
        yield f"http://127.0.0.1:{dashboard}", environment
    finally:
        below = descendants(process.pid)
        for pid in [process.pid, *below]:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.mark.campaign
def test_a_ray_job_runs_a_study_to_its_recipe(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    path = write_study(tmp_path, "quickstart", data_sizes=[5], training={"epochs": 3, "batch_size": 16})
    entry = [sys.executable, "-m", "jobs.cli", "run", str(path), "--storage", str(tmp_path / "shared")]
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", address,
              "--working-dir", str(ROOT), "--", *entry]  # fmt: skip
    done = subprocess.run(submit, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Recipe for" in done.stdout
    assert "succeeded" in done.stdout + done.stderr
    assert len(results(tmp_path / "shared/quickstart")["runs"]) == 8


def test_images_are_shared_without_a_copy_and_cannot_be_corrupted() -> None:
    from scaling.cluster.session import ray_session

    with ray_session(None, dashboard=False):
        import ray

        source = image_source(DatasetSpec(name="digits"), ROOT).pinned()
        data = source.open()
        expected = data.train.images.sum(dtype=np.int64)

        @ray.remote
        def vandal(shared: ImageSource) -> tuple[str, str]:
            import torch

            from scaling.train.batches import to_input

            mine = shared.open()
            to_input(mine.train.images[np.arange(100)], mine.mean, mine.std, torch.device("cpu")).zero_()
            try:
                mine.train.images[:] = 0
            except ValueError as error:
                return Path("/proc/self/maps").read_text(), str(error)
            return "", "written"

        @ray.remote
        def checksum(shared: ImageSource) -> int:
            return int(shared.open().train.images.sum(dtype=np.int64))

        mapped, refusal = ray.get(vandal.remote(source))
        assert "read-only" in refusal
        assert ray.get(checksum.remote(source)) == expected
        file = next(Path(os.environ["SCALING_CACHE_DIR"]).glob("digits-*/train.pixels"))
        assert str(file) in mapped, "that process holds a copy"
        assert str(file) in Path("/proc/self/maps").read_text(), "this process holds a copy"
