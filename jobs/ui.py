"""MLflow's UI on a study's store."""

from __future__ import annotations

import os
import subprocess
import sys

from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.place import shown


def serve_ui(study: Study, port: int) -> int:
    """Run MLflow's server on the study's SQLite store until it is interrupted; its exit status.

    Raises:
        StudyError: the study is tracked by a server (open that), or has no store yet.
    """
    uri = study.tracking_uri
    if uri.startswith(("http://", "https://")):
        raise StudyError(f"study '{study.name}' is tracked at {shown(uri)}; open that address in a browser")
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise StudyError(
            f"study '{study.name}' has no MLflow store at {shown(uri)} yet; run it first: scaling run STUDY"
        )
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    print(f"MLflow UI for study '{study.name}': http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    try:
        return subprocess.call([*command, "--port", str(port), "--workers", "1"], env=environment)
    except KeyboardInterrupt:
        return 0
