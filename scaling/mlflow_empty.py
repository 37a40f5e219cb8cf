"""An empty store of MLflow's in one file, made once for each of its versions and copied for each study.

MLflow makes a new SQLite store by all of its migrations since its first version, which takes seconds.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import uuid
from contextlib import closing, suppress
from pathlib import Path

from scaling.data.image_source import default_cache_dir
from scaling.storage import PART


def put_empty_store(file: Path) -> None:
    """Put an empty store where there is no file yet; where that cannot be done, MLflow will make its own."""
    if file.exists():
        return
    part = file.with_name(f".{uuid.uuid4().hex}{PART}")
    with suppress(OSError, sqlite3.Error):
        try:
            shutil.copyfile(_kept(), part)
            os.link(part, file)  # fails where another process has begun one meanwhile
        finally:
            part.unlink(missing_ok=True)


def _kept() -> Path:
    """The empty store of this version of MLflow in the cache folder, made if it is not there or not whole."""
    from mlflow.version import VERSION

    kept = default_cache_dir() / f"mlflow-{VERSION}.db"
    if not _is_whole(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".mlflow-") as folder:
            os.replace(_made(Path(folder) / "empty.db"), kept)
    return kept


def _is_whole(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with closing(sqlite3.connect(file)) as database:
            return database.execute("PRAGMA quick_check").fetchall() == [("ok",)] and bool(
                database.execute("SELECT version_num FROM alembic_version").fetchall()
            )
    except sqlite3.Error:
        return False


def _made(file: Path) -> Path:
    """A new store, made by MLflow, without the default experiment, which holds paths: MLflow adds it when it opens."""
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM experiments")
    return file
