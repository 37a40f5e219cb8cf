"""MLflow's UI on a study's store: served on loopback, and seen in a browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests_jobs import QUICK_RUNS, descendants, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=60000"),
]


def get(address: str, content: dict[str, object] | None = None) -> bytes:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def answers(address: str) -> bool:
    try:
        return get(address + "/health") == b"OK"
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(quickstart: tuple[Path, Path, str]) -> Iterator[str]:
    """`scaling ui` on a free port of loopback; its address."""
    path, folder, _ = quickstart
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "jobs.cli", "ui", str(path), "--port", str(port)], cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for("MLflow's UI", lambda: answers(address))
        yield address
    finally:
        below = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        for pid in below:
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
        process.wait(30)


def experiment_id(address: str) -> str:
    found = json.loads(get(f"{address}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=quickstart"))
    return str(found["experiment"]["experiment_id"])


def test_the_ui_serves_the_study_its_runs_and_its_figures(server: str) -> None:
    query: dict[str, object] = {"experiment_ids": [experiment_id(server)], "max_results": 100}
    runs = json.loads(get(f"{server}/ajax-api/2.0/mlflow/runs/search", query))["runs"]
    assert len(runs) == QUICK_RUNS + 1
    where = f"run_uuid={parent_run(server)}&path=score-against-compute-resnet.png"
    assert get(f"{server}/get-artifact?{where}").startswith(b"\x89PNG")


def parent_run(address: str) -> str:
    query: dict[str, object] = {"experiment_ids": [experiment_id(address)], "filter": "tags.`scaling.kind` = 'study'"}
    (run,) = json.loads(get(f"{address}/ajax-api/2.0/mlflow/runs/search", query))["runs"]
    return str(run["info"]["run_id"])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH: the pages cannot be seen")
def test_a_browser_shows_the_study_its_child_runs_and_the_figure(server: str, tmp_path: Path) -> None:
    home = f"{server}/#/experiments/{experiment_id(server)}/runs"
    study = f"{home}/{parent_run(server)}"
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path / 'profile'}"]

    def text(page: str) -> str:
        shown = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=False)
        return shown.stdout

    assert re.search(rf">{QUICK_RUNS + 1}</[^>]+>\s*matching runs", text(home))
    assert re.search(r"Child runs.*(resnet-10|alexnet) w\d+ \w+/class seed 0", text(study), re.DOTALL)
    assert "score-against-compute-resnet.png" in text(f"{study}/artifacts/score-against-compute-resnet.png")
