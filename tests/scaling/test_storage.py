"""Files appear whole or not at all, on a local disk and elsewhere."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time

import pyarrow as pa
import pytest
from pyarrow import fs

from scaling.errors import MissingFile, StorageError, StudyError
from scaling.patience import passes
from scaling.storage import TIMEOUTS_S, Storage


@pytest.fixture(params=["local", "in memory", "bucket"])
def place(request, tmp_path) -> Storage:
    """A folder on disk, Arrow's in-memory file system, which is written as any remote one, and S3 with a query."""
    if request.param == "bucket":
        return Storage(request.getfixturevalue("s3"))
    return Storage(tmp_path / "a b" if request.param == "local" else "mock:///bucket/study")


def test_what_is_written_is_read(place):
    place.write_bytes("runs/one.parquet", b"\x00first")
    place.write_bytes("runs/one.parquet", b"second")
    place.write_bytes("runs/two.txt", b"")
    assert place.read_bytes("runs/one.parquet") == b"second"
    assert place.names("runs") == ["one.parquet", "two.txt"]
    assert place.names("runs", ".parquet") == ["one.parquet"]
    assert place.names("absent") == []
    with place.local_file("runs/one.parquet") as path:
        assert path.read_bytes() == b"second"
    place.delete("runs/one.parquet")
    place.delete("runs/one.parquet")
    assert place.names("runs") == ["two.txt"]


def test_a_writer_that_raises_leaves_what_was_there(place):
    place.write_bytes("runs/kept", b"old")

    def write_half(name: str) -> None:
        with place.new_file(name) as path:
            path.write_bytes(b"half")
            raise KeyError

    for name in ("runs/kept", "runs/new"):
        with pytest.raises(KeyError):
            write_half(name)
    assert place.names("runs") == ["kept"]
    assert place.read_bytes("runs/kept") == b"old"
    everything = place.filesystem.get_file_info(fs.FileSelector(place.path("runs")))
    assert [info.base_name for info in everything] == ["kept"], "not even a hidden temporary file"


def test_file_uri_and_path_are_one_place(tmp_path):
    folder = tmp_path / "a b#c"
    Storage(folder).write_bytes("x/y", b"z")
    assert Storage(folder.as_uri()).read_bytes("x/y") == b"z"
    assert Storage(folder).child("x").read_bytes("y") == (folder / "x" / "y").read_bytes()


def test_a_relative_path_is_under_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage("results").path("runs") == f"{tmp_path}/results/runs"


@pytest.mark.parametrize(
    ("uri", "child", "path"),
    [
        ("/", "file:///name/runs", "/name/runs"),
        ("file:///base/", "file:///base/name/runs", "/base/name/runs"),
        ("s3://bucket/base?region=eu-west-1", "s3://bucket/base/name/runs?region=eu-west-1", "bucket/base/name/runs"),
        ("s3://bucket?region=eu-west-1", "s3://bucket/name/runs?region=eu-west-1", "bucket/name/runs"),
    ],
)
def test_a_child_keeps_the_query(uri, child, path):
    below = Storage(uri).child("name", "runs")
    assert (below.uri, below.path()) == (child, path)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "taken").write_text("a file")
    storage = Storage(tmp_path / "taken" / "results")
    with pytest.raises(StudyError, match=r"taken/results' cannot be written .*--storage"):
        storage.check_writable()


def test_a_writable_place_is_left_as_it_was(place):
    place.check_writable()
    assert place.filesystem.get_file_info(fs.FileSelector(place.path())) == []


def test_a_child_is_a_folder_of_the_same_place(place):
    place.write_bytes("a b/c/one", b"1")
    below = place.child("a b", "c")
    assert below.read_bytes("one") == b"1"
    below.write_bytes("two", b"2")
    assert place.names("a b/c") == ["one", "two"]
    if place.place.scheme != "mock":  # each of its URIs opens an empty one
        assert Storage(below.uri).names() == ["one", "two"]
        folder, name = Storage.of_file(place.place.child("a b", "c", "two").uri)
        assert folder.read_bytes(name) == b"2"
    place.delete_folder("a b")
    place.delete_folder("a b")
    assert not place.exists("a b/c/one")


def test_a_file_that_is_not_there_is_told_from_a_fault(place):
    for read in (place.read_bytes, lambda name: place.local_file(name).__enter__()):
        with pytest.raises(MissingFile, match=r"none/x' cannot be read|none/x\?.*' cannot be read"):
            read("none/x")
    assert not place.exists("none/x")
    place.delete("none/x")


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_the_places_fault(place, monkeypatch):
    place.write_bytes("a", b"old")

    def fill(name: str) -> None:
        with place.new_file(name):
            no_room()

    with pytest.raises(StorageError, match=r"'.*a.*' cannot be written \(.*No space left.*make room there or choose"):
        fill("a")
    monkeypatch.setattr("scaling.storage.os.replace", no_room)
    monkeypatch.setattr("scaling.storage.Storage._upload", no_room)
    with pytest.raises(StorageError, match="No space left"):
        place.write_bytes("a", b"new")
    monkeypatch.undo()
    assert place.read_bytes("a") == b"old"
    assert place.names() == ["a"]


def test_a_refusal_is_the_places_fault(tmp_path, monkeypatch):
    place = Storage(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("scaling.storage.Path.stat", refuse)
    with pytest.raises(StorageError, match=r"cannot be read .*allow this user"), place.local_file("a"):
        pass


def test_temporary_files_are_not_listed_and_old_ones_are_removed(tmp_path):
    place = Storage(tmp_path)
    for name in (".old.part", ".new.part", ".hidden", "kept"):
        place.write_bytes(f"runs/{name}", b"")
    for name in (".old.part", ".hidden", "kept"):
        os.utime(tmp_path / "runs" / name, (1000, 1000))
    assert place.names("runs") == ["kept"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".hidden", ".new.part", "kept"]


@pytest.fixture
def silent_port():
    """A server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


def answers(query: str) -> tuple[float, str]:
    """Seconds until each kind of call says that a store does not answer, and the last message."""
    place, began = Storage(f"s3://KEY:s3cret@bucket/x?region=us-east-1&scheme=http&{query}"), time.monotonic()
    with pytest.raises(StorageError) as error:
        place.names("runs")
    with pytest.raises(StorageError):
        place.write_bytes("runs/a", b"")
    return time.monotonic() - began, str(error.value)


def test_a_store_that_is_not_there_is_said_without_credentials():
    seconds, message = answers("endpoint_override=127.0.0.1:9")
    assert seconds < 30
    assert "'s3://***@bucket/x/runs?" in message
    assert "cannot be listed" in message
    assert "s3cret" not in message


def test_a_store_that_is_silent_is_noticed(silent_port):
    """Three tries of the time that the URI says."""
    seconds, _ = answers(f"endpoint_override=127.0.0.1:{silent_port}&connect_timeout=1&request_timeout=1")
    assert 2 * 3 < seconds < 30
    assert 3 * (TIMEOUTS_S["connect_timeout"] + TIMEOUTS_S["request_timeout"]) <= 60, "where the URI says nothing"


def test_limits_leave_the_rest_of_an_s3_place_as_it_is():
    plain = "s3://KEY:s%2Fx@bucket/x?endpoint_override=127.0.0.1:9&scheme=http&region=eu-west-1"
    place, arrow = Storage(f"{plain}&request_timeout=7"), fs.FileSystem.from_uri(plain)[0]
    settings, expected = place.filesystem.__reduce__()[1][0], arrow.__reduce__()[1][0]
    assert settings == expected | {"connect_timeout": 5.0, "request_timeout": 7.0, "allow_delayed_open": True}
    assert place.uri == f"{plain}&request_timeout=7"


def test_only_errors_of_the_place_are_its_own(tmp_path):
    place = Storage(tmp_path)
    of_place = [OSError(5, "I/O"), OSError("AWS Error NETWORK_CONNECTION"), StorageError("x")]
    of_content = [OSError("Couldn't deserialize thrift"), pa.ArrowInvalid("no magic"), ValueError("x")]
    assert [place.failed(error) for error in of_place + of_content] == [True] * 3 + [False] * 3


def test_a_place_that_cannot_be_parsed_is_refused_without_its_credentials():
    with pytest.raises(StudyError, match=r"storage='s3://\*\*\*@bucket/a b' is no place") as error:
        Storage("s3://KEY:s3cret@bucket/a b")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("uri", ["ftp://host/folder", "nonsense://x"])
def test_a_place_that_arrow_does_not_know_is_refused(uri):
    with pytest.raises(StudyError, match=f"storage='{uri}' is no place .*give a local path"):
        Storage(uri)


@pytest.fixture
def flaky(bucket, s3, monkeypatch):
    """A place in the bucket; the bucket, which is away while `busy`; waits are short."""
    monkeypatch.setattr("scaling.patience.FIRST_WAIT_S", 0.05)
    yield Storage(s3), bucket
    bucket.busy = False


def away_for(bucket, seconds: float) -> threading.Timer:
    bucket.busy = True
    back = threading.Timer(seconds, lambda: setattr(bucket, "busy", False))
    back.start()
    return back


def test_a_place_that_has_answered_is_waited_for(flaky, tmp_path):
    """Whatever is asked of it; reading, writing and listing go on once it is back."""
    place, bucket = flaky
    place.write_bytes("a", b"1")
    actions = {
        "read": lambda: place.read_bytes("a"),
        "list": lambda: place.names(),
        "write": lambda: place.write_bytes("b", b"2"),
    }
    found = {}
    for name, action in actions.items():
        back, began = away_for(bucket, 1.5), time.monotonic()
        found[name] = action()
        assert time.monotonic() - began >= 1.5, "Arrow's own three tries are over sooner"
        back.join()
    assert (found["read"], found["list"], place.names()) == (b"1", ["a"], ["a", "b"])


def test_patience_ends_and_a_place_that_never_answered_is_told_at_once(flaky, monkeypatch):
    place, bucket = flaky
    bucket.busy = True
    with pytest.raises(StorageError, match="cannot be listed"):
        Storage(place.place).names()
    assert Storage(place.place).uri == place.place.uri
    bucket.busy = False
    place.names()
    told = Storage(place.uri)  # what a worker opens
    assert "patience_s=180" in place.uri
    told._patience.seconds, bucket.busy = 2.0, True
    began = time.monotonic()
    with pytest.raises(StorageError, match="cannot be read"):
        told.read_bytes("a")
    assert 2.0 < time.monotonic() - began < 20
    assert Storage(place.place.with_options(place.place.options | {"patience_s": "7"}))._patience.seconds == 7


PASSING = [
    "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7",
    "AWS Error SLOW_DOWN during PutObject",
    "AWS Error UNKNOWN (HTTP status 503) during ListObjectsV2",
    "google::cloud::Status(UNAVAILABLE: x)",
]
STAYING = [
    "AWS Error ACCESS_DENIED during PutObject",
    "AWS Error NO_SUCH_BUCKET during ListObjectsV2",
    "AWS Error UNKNOWN (HTTP status 400) during HeadObject: ExpiredToken",
]


def test_only_what_passes_by_itself_is_tried_again():
    assert all(passes(OSError(text)) for text in PASSING)
    assert passes(OSError(errno.ESTALE, "Stale file handle"))
    assert not any(passes(OSError(text)) for text in STAYING)
    assert not any(passes(OSError(number, "x")) for number in (errno.ENOSPC, errno.EACCES, errno.EIO, errno.ENOENT))
