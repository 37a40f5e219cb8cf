"""MLflow's stores: odd paths, what was deleted, drivers that are missing, servers that refuse; no secret is shown."""

from __future__ import annotations

import http.server
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow.version
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from scaling.errors import StudyError
from scaling.mlflow_store import connect, is_of_store, key_of, sqlite_file, told, tracking_uri
from scaling.records import ResultsStore, RunRecord, run_record
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.tracking import Tracker


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> MlflowClient:
    """One store for all tests here: making its tables takes seconds. Each test has a study name of its own."""
    return connect(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")


@pytest.fixture
def study(make_study, request, client):
    return make_study(name=request.node.name, data_sizes=[2, 3], mlflow=client.tracking_uri)


@pytest.fixture
def records(make_study, storage) -> list[RunRecord]:
    """Two finished runs in the store."""
    found = [run_record(run, "finished", None) for run in expand_study(make_study(data_sizes=[2, 3]))]
    for record in found:
        ResultsStore(storage).write_run(record)
    return found


def mirror(client: MlflowClient, study, storage: Storage) -> str | None:
    tracker = Tracker(client, study, storage)
    for run in expand_study(study):
        tracker.run_changed(run.run_id)
    return tracker.close("FINISHED", [])


def logged(client: MlflowClient, study) -> tuple[Run, dict[str, Run]]:
    """The study's parent run, and the children that it has, by run_id."""
    runs = client.search_runs([client.get_experiment_by_name(study.name).experiment_id])
    (parent,) = [run for run in runs if run.data.tags["scaling.kind"] == "study"]
    mine = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, {run.data.tags["scaling.run_id"]: run for run in mine}


@pytest.mark.parametrize("name", ["what?", "a%20b", "100%", "a#b", "ü; x", "p@q:r&s=t"])
def test_the_store_lies_in_the_studys_folder_whatever_that_is_called(make_study, tmp_path, name):
    storage, before = Storage(tmp_path / name / "tiny"), set(tmp_path.iterdir())
    study = make_study()
    client = connect(tracking_uri(study, storage))
    record = run_record(expand_study(study)[0], "finished", None)
    ResultsStore(storage).write_run(record)
    figure = tmp_path / name / "tiny" / "score.png"
    figure.write_bytes(b"a figure")
    tracker = Tracker(client, study, storage)
    tracker.run_changed(record.run_id)
    assert tracker.close("FINISHED", [figure]) is None
    assert sqlite_file(tracking_uri(study, storage)) == tmp_path / name / "tiny" / "mlflow.db"
    assert (tmp_path / name / "tiny" / "mlflow.db").is_file()
    assert list((tmp_path / name / "tiny" / "mlflow-artifacts").rglob("score.png"))
    assert set(tmp_path.iterdir()) - before == {tmp_path / name}


def test_a_deleted_experiment_is_told_until_it_is_restored(client, study, storage, records):
    mirror(client, study, storage)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    client.delete_experiment(experiment)
    for _ in range(2):
        tracker = Tracker(client, study, storage)
        tracker.run_changed(records[0].run_id)
        problem = tracker.close("FINISHED", [])
        assert f"mlflow experiments restore --experiment-id {experiment}" in problem
        assert study.mlflow in problem
        assert tracker.promise == "", "the next run alone logs nothing"
    client.restore_experiment(experiment)
    assert mirror(client, study, storage) is None


def test_an_experiment_that_is_deleted_meanwhile_is_told_too(client, study, storage, records, monkeypatch):
    monkeypatch.setattr("scaling.tracking.PAUSE_S", 0.0)
    monkeypatch.setattr("scaling.tracking.FLUSH_INTERVAL_S", 0.1)
    tracker = Tracker(client, study, storage)
    tracker.run_changed(records[0].run_id)
    while not (there := client.get_experiment_by_name(study.name)) or not any(
        "mlflow.parentRunId" in run.data.tags for run in client.search_runs([there.experiment_id])
    ):
        time.sleep(0.1)
    time.sleep(1)
    client.delete_experiment(client.get_experiment_by_name(study.name).experiment_id)
    for record in records:
        tracker.run_changed(record.run_id)
        time.sleep(0.5)
    tracker.run_changed(records[1].run_id)
    assert "experiments restore" in tracker.close("FINISHED", [])


def test_a_parent_that_was_deleted_is_made_again_with_its_children(client, study, storage, records):
    mirror(client, study, storage)
    client.delete_run(logged(client, study)[0].info.run_id)
    mirror(client, study, storage)
    assert set(logged(client, study)[1]) == {record.run_id for record in records}


def test_no_credentials_are_logged(client, make_study, study, storage):
    places = {"dataset": {"name": "mine", "path": "s3://KEY:s3cret@bucket/x"}, "benchmarks": ["file:x.nc"]}
    study = make_study(name=study.name, mlflow=study.mlflow, **places)
    (run,) = expand_study(study)
    ResultsStore(storage).write_run(run_record(run, "failed", "OSError: s3://KEY:s3cret@bucket/x is gone"))
    ResultsStore(storage).write_run(run_record(run, "finished", "was s3://KEY:s3cret@bucket/x"))
    mirror(client, study, storage)
    parent, children = logged(client, study)
    assert "s3://***@bucket/x" in parent.data.params["dataset"]
    assert "s3cret" not in str([parent.data, *(child.data for child in children.values())])


@pytest.mark.parametrize(
    "name", ["score.file:a?.nc", "score.file:../x.nc", "a//b", "a/../b", "/a", "a" * 300, "a,b", "..", "100%"]
)
def test_names_that_mlflow_refuses_are_replaced(client, name):
    run = client.create_run("0").info.run_id
    client.log_metric(run, key_of(name), 1.0)
    client.set_tag(run, key_of(name), "x")
    assert key_of(name) != key_of(name + "?")
    assert key_of("score.suite.IT/0123abcd") == "score.suite.IT/0123abcd"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("postgresql+psycopg2://me:s3cret@127.0.0.1:1/x", ["psycopg2-binary"]),
        ("mysql://me:s3cret@127.0.0.1:1/x", ["mysqlclient"]),
        ("mssql+pyodbc://me:s3cret@127.0.0.1:1/x", ["pip install pyodbc"]),
    ],
)
def test_a_driver_that_is_missing_is_named(monkeypatch, uri, words):
    for name in ("psycopg2", "MySQLdb", "pyodbc"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(StudyError) as raised:
        connect(uri)
    message = str(raised.value)
    assert [word for word in ["a driver that is not installed", "--no-mlflow", *words] if word not in message] == []
    assert "s3cret" not in message


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_store_without_a_file_is_refused(uri):
    with pytest.raises(StudyError, match="names no file"):
        connect(uri)


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[[int, str], str]]:
    """A server that gives every request this status and body; its URI, with a password."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    servers = []

    def start(status: int, body: str) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_GET

            def log_message(self, *words: object) -> None: ...

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://me:s3cret@127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, "who are you", ["refuses this user", "MLFLOW_TRACKING_USERNAME"]),
        (403, "<html>no</html>", ["refuses this user", "--allowed-hosts"]),
        (404, "nope", ["does not answer", "correct the URI"]),
        (500, "s3cret trouble", ["does not answer"]),
        (200, "<html>\nlogin</html>", ["does not answer", "correct the URI"]),
        (200, "[]", ["does not answer"]),
    ],
)
def test_a_server_that_refuses_is_one_line_without_its_password(serve, status, body, words):
    with pytest.raises(StudyError) as raised:
        connect(serve(status, body))
    message = str(raised.value)
    assert [word for word in ["http://***@127.0.0.1", "--no-mlflow", *words] if word not in message] == [], message
    assert "s3cret" not in message
    assert "\n" not in message


def test_a_server_that_is_no_mlflow_is_told(serve, make_study, storage, records):
    uri = serve(200, "{}")
    tracker = Tracker(connect(uri), make_study(mlflow=uri), storage)
    tracker.run_changed(records[0].run_id)
    problem = tracker.close("FINISHED", [])
    assert "is no MLflow server" in problem
    assert "s3cret" not in problem


def test_what_a_server_says_meanwhile_shows_no_password(serve, make_study, storage, records, monkeypatch):
    monkeypatch.setattr("scaling.tracking.CLOSE_S", 0.0)
    uri = serve(500, "trouble")
    tracker = Tracker(MlflowClient(uri), make_study(mlflow=uri), storage)
    tracker.run_changed(records[0].run_id)
    problem = tracker.close("FINISHED", [])
    assert problem.startswith("MLflow did not take everything (")
    assert "s3cret" not in problem
    assert tracker.promise == "the next `scaling run` logs what is missing"


def test_only_what_is_of_the_store_counts_as_its_failure():
    assert is_of_store(OSError())
    assert is_of_store(ModuleNotFoundError("boto3"))
    assert not is_of_store(ZeroDivisionError())
    assert told(ZeroDivisionError(), "http://host") == "ZeroDivisionError"


def tables(file: Path) -> dict[str, list[tuple]]:
    """All that a SQLite file holds, its schema too."""
    with closing(sqlite3.connect(file)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: sorted(database.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names}
        schema = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        # MLflow's migrations put a table's constraints in another order in each process
        words = [(kind, name, sorted((sql or "").replace(",", " ").split())) for kind, name, sql in schema]
        return rows | {"": sorted(words)}


def test_a_copied_empty_store_is_the_one_that_mlflow_makes(tmp_path, monkeypatch):
    """Which it makes itself where the cache cannot be written."""
    copied = f"sqlite:///{tmp_path}/copied.db"
    number = connect(copied).create_experiment("mine")
    assert connect(copied).get_experiment_by_name("mine").experiment_id == number, "one that is there is left"
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path / "file" / "cache"))
    connect(f"sqlite:///{tmp_path}/made.db")
    found, expected = tables(tmp_path / "copied.db"), tables(tmp_path / "made.db")
    for rows in (found, expected):  # the default experiment: its number, name and place, but not its times
        rows["experiments"] = [row[:4] for row in rows["experiments"] if row[1] != "mine"]
    assert found == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied.db", "file", "made.db"]


def test_a_damaged_empty_store_in_the_cache_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path))
    kept = tmp_path / f"mlflow-{mlflow.version.VERSION}.db"
    kept.write_bytes(b"SQLite format 3\0 and no more")
    assert connect(f"sqlite:///{tmp_path}/mine.db").search_experiments()[0].name == "Default"
    assert len(tables(kept)["alembic_version"]) == 1
