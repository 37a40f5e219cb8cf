"""What a study runs on, all of it on this machine: a Ray cluster of several nodes, an S3 server, an MLflow server."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moto_bucket import MotoBucket
from tests_jobs import descendants, wait_for

AWAY_S = 20.0
TRAINS, SCORES = ("StudyTrial", "Trainable"), ("ScoringActor",)  # in titles of processes
STARTS = 10  # of a node
NODES, CPUS = 2, 2  # beside the head, which has no CPU; of each
RECONNECT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}  # Ray's own patience with a head that is away


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """Each part can be killed, and is brought back as an operator, Slurm or Kubernetes would.

    Args:
        rng: which of several processes or nodes is hit.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder, self._rng = folder, rng
        self.bucket = MotoBucket()
        self._port, self._mlflow_port = free_port(), free_port()
        self.mlflow_uri = f"http://127.0.0.1:{self._mlflow_port}"
        self._start_mlflow()
        self._start_cluster()
        wait_for("MLflow's server", self._mlflow_answers, 600)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def stop(self) -> None:
        self._cluster.shutdown()
        self._kill_mlflow()
        self.bucket.stop()

    def processes(self, words: Sequence[str]) -> list[int]:
        """Ids of Ray's processes whose title has one of the words in it."""
        there = descendants(os.getpid()).items()
        return sorted(pid for pid, name in there if name.startswith("ray::") and any(word in name for word in words))

    def kill_process(self, words: Sequence[str]) -> bool:
        """kill -9 one of them; whether there was one."""
        there = self.processes(words)
        if not there:
            return False
        try:
            os.kill(self._rng.choice(there), signal.SIGKILL)
        except ProcessLookupError:  # it has just ended
            return False
        return True

    def lose_node(self) -> bool:
        """A node's processes are killed at once, as a spot machine's; another node joins."""
        node = self._rng.choice(sorted(self._cluster.worker_nodes, key=lambda node: str(node.unique_id)))
        self._cluster.remove_node(node, allow_graceful=False)
        self._add_node()
        return True

    def lose_head(self, driver: subprocess.Popen[bytes]) -> bool:
        """The head's control store is killed; once the driver has noticed, a cluster is started at the same address."""
        self._cluster.head_node.kill_gcs_server()
        driver.wait(timeout=300)
        self._cluster.shutdown()
        self._start_cluster()
        return True

    def lose_mlflow(self) -> bool:
        self._kill_mlflow()
        time.sleep(AWAY_S)
        self._start_mlflow()
        return True

    def lose_bucket(self) -> bool:
        with self.bucket.away():
            time.sleep(AWAY_S)
        return True

    def _start_cluster(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "gcs_server_port": self._port}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(NODES):
            self._add_node()

    def _add_node(self) -> None:
        for left in reversed(range(STARTS)):
            try:
                self._cluster.add_node(num_cpus=CPUS)
                return
            except Exception as error:  # Ray raises it bare where a busy machine takes more than half a minute
                if not left or "timed out during startup" not in str(error):
                    raise

    def _start_mlflow(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._mlflow_port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
                   "--artifacts-destination", str(self._folder / "artifacts")]  # fmt: skip
        with (self._folder / "mlflow.log").open("ab") as log:
            self._mlflow = subprocess.Popen(
                command, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _kill_mlflow(self) -> None:
        os.killpg(self._mlflow.pid, signal.SIGKILL)
        self._mlflow.wait()

    def _mlflow_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.mlflow_uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_for_mlflow(self) -> None:
        wait_for("MLflow's server", self._mlflow_answers, 600)
