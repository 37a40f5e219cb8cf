"""MLflow's UI on a study's store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from scaling.cluster.stopping import Stopped, stop_switch
from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.mlflow_store import connect, sqlite_file
from scaling.place import shown

END_WAIT_S = 10.0


def serve_ui(study: Study, port: int) -> int:
    """Run MLflow's server on the study's SQLite store until it is interrupted; its exit status.

    Raises:
        StudyError: the study is tracked by a server (open that), or has no store yet, or one that cannot be opened.
    """
    uri = study.tracking_uri
    if uri.startswith(("http://", "https://")):
        raise StudyError(f"study '{study.name}' is tracked at {shown(uri)}; open that address in a browser")
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise StudyError(
            f"study '{study.name}' has no MLflow store at {shown(uri)} yet; run it first: scaling run STUDY"
        )
    with stop_switch():
        try:
            connect(uri)  # what is wrong with the store is refused here, in our words
            return _serve(uri, port, study.name)
        except Stopped as stopped:
            return 0 if stopped.status == 128 + signal.SIGINT else stopped.status


def _serve(uri: str, port: int, name: str) -> int:
    """The URI may hold a password, and goes by the environment: everybody can read a command's words."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": uri}
    print(f"MLflow UI for study '{name}': http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    server = subprocess.Popen(command, env=environment)
    try:
        return server.wait()
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """It ends with this process, however that ends."""
    server.terminate()
    try:
        server.wait(END_WAIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
