"""MLflow's store of a study: where it is, a client of it, and what it says where it refuses, without its secrets."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from scaling.errors import StudyError
from scaling.layout import MLFLOW_FILE
from scaling.mlflow_empty import put_empty_store
from scaling.place import Place, is_uri, scrub, shown
from scaling.specs.study import StudySpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///?")
LONGEST_WORD = 300  # characters of what a library says
LONGEST_KEY = 250  # MLflow's own limit for names
# Packages of the drivers that databases need: MLflow brings none but SQLite's.
DRIVERS = {"psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
# Libraries whose exceptions are the store's; those of object stores, which keep artifacts, have no common base.
LIBRARIES = frozenset({
    "mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3", "alembic", "psycopg", "psycopg2", "MySQLdb", "pymysql",
    "botocore", "boto3", "google", "azure",
})  # fmt: skip


def tracking_uri(study: StudySpec, storage: Storage) -> str:
    """The study's MLflow URI: its own, or a SQLite file beside local results.

    Raises:
        StudyError: results are remote and no URI is given.
    """
    if study.mlflow is not None:
        return study.mlflow
    if not storage.is_local:
        raise StudyError(
            f"storage='{storage.shown}' is remote and mlflow is not set (study '{study.name}'); "
            "give mlflow: an http(s) server, or sqlite:///a/local/file.db"
        )
    return sqlite_uri(storage.path(MLFLOW_FILE))


def sqlite_uri(path: str) -> str:
    """The URI of a SQLite file of any name, to be read by `sqlite_file`.

    A ? or % in it is quoted, which SQLAlchemy undoes from 2.1 on. With its driver named, MLflow makes no folder of the
    quoted name.
    """
    quoted = quote(path, safe="/!#$&'()*+,;=:@~ ") if path.isascii() else re.sub(r"[%?]", _quoted, path)
    if quoted == path:
        return f"sqlite:///{path}"
    uri = f"sqlite+pysqlite:///{quoted}"
    for candidate in (uri, f"sqlite:///{path}"):
        if sqlite_file(candidate) == Path(path):
            return candidate
    raise StudyError(f"'{path}' is no path that this SQLAlchemy can open; upgrade it to 2.1, or rename the folder")


def _quoted(match: re.Match[str]) -> str:
    return quote(match[0])


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite URI, as SQLAlchemy reads it; None: of another store.

    Raises:
        StudyError: it names no file, so that all would be lost with the process.
    """
    if not SQLITE.match(uri):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        name = make_url(uri).database
    except ArgumentError as error:
        raise StudyError(f"mlflow='{shown(uri)}' is no URI ({error}); write sqlite:////folder/file.db") from error
    if not name or name == ":memory:":
        raise StudyError(f"mlflow='{shown(uri)}' names no file; write sqlite:////folder/file.db")
    return Path(name)


def connect(uri: str) -> MlflowClient:
    """A client whose store answers.

    Raises:
        StudyError: the server or file cannot be reached, refuses this user, is no MLflow, or its driver is missing.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for each run that ends
    from mlflow import MlflowClient

    file = sqlite_file(uri)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            put_empty_store(file)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        if not (is_of_store(error) or isinstance(error, ValueError)):  # a ValueError is of a malformed URI
            raise
        what, remedy = _refusal(error)
        raise StudyError(
            f"mlflow='{shown(uri)}' {what} ({told(error, uri)}); {remedy}, or run with --no-mlflow and log by a later "
            "run"
        ) from error
    return client


def is_of_store(error: BaseException) -> bool:
    """Whether MLflow, its database, server or place for artifacts raised it, or a package of theirs is missing."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError | ImportError) or not LIBRARIES.isdisjoint(libraries)


def told(error: BaseException, uri: str) -> str:
    """The first line of what it says, without what is secret in the URI."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    said = scrub(Place.of(uri).hide(line) if is_uri(uri) else line)
    return said if len(said) <= LONGEST_WORD else f"{said[:LONGEST_WORD]}…"


def _refusal(error: Exception) -> tuple[str, str]:
    """What the store does, and the remedy."""
    if isinstance(error, ImportError):
        name = str(error.name or "").partition(".")[0]
        return "needs a driver that is not installed", f"pip install {DRIVERS.get(name, name or 'it')}"
    if "error code 401" in str(error) or "error code 403" in str(error):
        return "refuses this user", (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN (or, at the server, "
            "--allowed-hosts)"
        )
    return "does not answer", "start it, correct the URI"


def key_of(name: str) -> str:
    """A name as MLflow takes it for metrics and tags; what it refuses in others is replaced, and a digest added."""
    valid = re.sub(r"[^\w.\-/: ]", "_", name)
    valid = "/".join(part for part in posixpath.normpath(valid).split("/") if part not in ("", ".", ".."))
    if valid == name and len(name) <= LONGEST_KEY:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{valid[: LONGEST_KEY - 9]}-{digest}"
